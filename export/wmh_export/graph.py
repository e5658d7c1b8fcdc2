"""From a merged network to ONNX graphs that share one weights file, byte for byte repeatable."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, external_data_helper, numpy_helper
from torch import nn

OPSET = 20  # the newest that ONNX Runtime, OpenVINO and TensorRT all read
INPUT_NAME = "slices"
OUTPUT_NAME = "probability"
WEIGHTS_NAME = "weights.bin"
_BATCH = "N"
_INLINE_BYTES = 1024  # smaller tensors, shapes and axes mostly, stay within the graph
_ALIGNMENT_BYTES = 4096  # so that a weights file can be memory-mapped


def trace(module: nn.Module, channels: int, size_px: int) -> onnx.ModelProto:
    """Export a module, [N, C, S, S] to [N, K, S, S], with the batch N left open.

    Names of source files and the like are taken out: the same network gives the same graph,
    wherever it is exported.
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
    _strip(model)
    return model


def _strip(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def save_sharing_weights(models: dict[str, onnx.ModelProto], folder: Path) -> None:
    """Write graphs that read their weights from one file, each distinct tensor once.

    Args:
        models: by file name; changed in place to refer to the weights file.
        folder: exists; `weights.bin` and the graphs are written to it.
    """
    offsets: dict[bytes, int] = {}
    with (folder / WEIGHTS_NAME).open("wb") as weights:
        for model in models.values():
            for tensor in model.graph.initializer:
                raw = numpy_helper.to_array(tensor).tobytes()
                if len(raw) < _INLINE_BYTES:
                    continue
                if raw not in offsets:
                    weights.seek(-weights.tell() % _ALIGNMENT_BYTES, 1)
                    offsets[raw] = weights.tell()
                    weights.write(raw)
                _refer(tensor, raw, offsets[raw])
    for name, model in models.items():
        onnx.save_model(model, folder / name)
        onnx.checker.check_model(folder / name, full_check=True)


def _refer(tensor: TensorProto, raw: bytes, offset: int) -> None:
    """Make a tensor live in the weights file."""
    tensor.raw_data = raw
    external_data_helper.set_external_data(
        tensor, location=WEIGHTS_NAME, offset=offset, length=len(raw)
    )
    tensor.ClearField("raw_data")
