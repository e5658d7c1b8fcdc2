"""Trace a PyTorch module to an ONNX graph. The bytes do not depend on machine or folder."""

from __future__ import annotations

import ast
import logging
import warnings
from collections import Counter

import onnx
import torch
from onnx import ModelProto, NodeProto
from torch import nn

OPSET = 20  # the newest that ONNX Runtime, OpenVINO and TensorRT all support
INPUT_NAME = "slices"
OUTPUT_NAME = "probability"
_BATCH = "N"
_SCOPES = "pkg.torch.onnx.name_scopes"  # metadata key: the modules that a node comes from
_NETWORK = "network."


def trace(module: nn.Module, channels: int, size_px: int) -> ModelProto:
    """Export a module, [N, C, S, S] to [N, K, S, S], with a dynamic batch size N.

    Nodes are named after their modules: encoder.blocks.0.attn.query/MatMul. Names of source files
    and similar metadata are removed.
    """
    example = torch.zeros(2, channels, size_px, size_px)
    # The exporter warns that torchvision's operators are missing; no network here uses them.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter itself calls deprecated functions
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=({0: torch.export.Dim(_BATCH, min=1)},),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert batch.dim_param == _BATCH, "an operation fixed the batch size during tracing"
    _name_nodes_by_module(model)
    strip_metadata(model)
    _drop_unused_domains(model)
    return model


def strip_metadata(model: ModelProto) -> None:
    """Remove all metadata and documentation from a graph, in place."""
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def _drop_unused_domains(model: ModelProto) -> None:
    """Remove imports of operators that are not used: the exporter adds those of earlier graphs."""
    used = {node.domain for node in model.graph.node}
    for imported in [one for one in model.opset_import if one.domain not in used]:
        model.opset_import.remove(imported)


def set_metadata(model: ModelProto, metadata: dict[str, str]) -> None:
    """Replace a graph's metadata, in place."""
    onnx.helper.set_model_props(model, metadata)


def _name_nodes_by_module(model: ModelProto) -> None:
    counts: Counter[str] = Counter()
    for node in model.graph.node:
        name = f"{_module_of(node)}/{node.op_type}"
        counts[name] += 1
        node.name = name if counts[name] == 1 else f"{name}_{counts[name]}"


def _module_of(node: NodeProto) -> str:
    """Return the path of the module that a node comes from; empty for nodes of the exporter."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes: list[str] = ["", *ast.literal_eval(entry.value)]  # the last is the operation
            return scopes[-2].removeprefix(_NETWORK)
    return ""
