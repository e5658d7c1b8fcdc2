"""Graphs on disk that read their weights from one file, each distinct tensor once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, external_data_helper, numpy_helper

from wmh_runtime.errors import ExportError

_INLINE_BYTES = 1024  # smaller tensors, shapes and axes mostly, stay within the graph
_ALIGNMENT_BYTES = 4096  # so that a weights file can be memory-mapped


def save_sharing_weights(models: dict[str, ModelProto], folder: Path, weights_name: str) -> None:
    """Write graphs, and beside them the weights that all of them read.

    Args:
        models: by file name; left as they are.
        folder: exists.
        weights_name: of the file of weights.

    Raises:
        ExportError: a graph is not valid ONNX.
    """
    offsets: dict[bytes, int] = {}  # by the hash of what lies there
    with (folder / weights_name).open("wb") as weights:
        for name, model in models.items():
            referring = ModelProto()
            referring.CopyFrom(model)
            for tensor in referring.graph.initializer:
                raw = numpy_helper.to_array(tensor).tobytes()
                if len(raw) < _INLINE_BYTES:
                    continue
                digest = hashlib.sha256(raw).digest()
                if digest not in offsets:
                    weights.seek(-weights.tell() % _ALIGNMENT_BYTES, 1)
                    offsets[digest] = weights.tell()
                    weights.write(raw)
                _refer(tensor, weights_name, raw, offsets[digest])
            onnx.save_model(referring, folder / name)
    for name in models:
        try:
            onnx.checker.check_model(folder / name, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            problem = f"{name} is not valid ONNX ({error})"
            raise ExportError(problem, "Please report this.") from error


def _refer(tensor: TensorProto, weights_name: str, raw: bytes, offset: int) -> None:
    """Make a tensor live in the weights file."""
    tensor.raw_data = raw  # whatever field it was in
    external_data_helper.set_external_data(
        tensor, location=weights_name, offset=offset, length=len(raw)
    )
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
        tensor.ClearField(field)
