"""From a module of PyTorch to an ONNX graph, the same bytes wherever it is traced."""

from __future__ import annotations

import ast
import logging
import warnings
from collections import Counter

import onnx
import torch
from onnx import ModelProto, NodeProto
from torch import nn

OPSET = 20  # the newest that ONNX Runtime, OpenVINO and TensorRT all read
INPUT_NAME = "slices"
OUTPUT_NAME = "probability"
_BATCH = "N"
_SCOPES = "pkg.torch.onnx.name_scopes"  # the exporter's note of the modules a node comes from
_NETWORK = "network."


def trace(module: nn.Module, channels: int, size_px: int) -> ModelProto:
    """Export a module, [N, C, S, S] to [N, K, S, S], with the batch N left open.

    Nodes are named by the module they come from: encoder.blocks.0.attn.query/MatMul. Names of
    source files and the like are taken out.
    """
    example = torch.zeros(2, channels, size_px, size_px)
    # It also warns of torchvision's operators, which no network here has.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own use of deprecated functions
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
    assert batch.dim_param == _BATCH, "an operation fixed the batch size while tracing"
    _name_by_module(model)
    strip(model)
    return model


def strip(model: ModelProto) -> None:
    """Take out what says where and by what a graph was made, in place."""
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def label(model: ModelProto, facts: dict[str, str]) -> None:
    """Write facts into a graph's metadata, in place, in place of what was there."""
    onnx.helper.set_model_props(model, facts)


def _name_by_module(model: ModelProto) -> None:
    taken: Counter[str] = Counter()
    for node in model.graph.node:
        name = f"{_module_of(node)}/{node.op_type}"
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"


def _module_of(node: NodeProto) -> str:
    """Return the path of the module a node comes from; empty where the exporter made it."""
    for note in node.metadata_props:
        if note.key == _SCOPES:
            scopes: list[str] = ["", *ast.literal_eval(note.value)]  # the last is the operation
            return scopes[-2].removeprefix(_NETWORK)
    return ""
