"""Save several graphs with one common weights file that holds each distinct tensor once."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, external_data_helper, numpy_helper

from wmh_runtime.errors import ExportError

_MIN_EXTERNAL_BYTES = 1024  # smaller tensors (mostly shapes and axes) stay inside the graph
_ALIGNMENT_BYTES = 4096  # page size, so that a weights file can be memory-mapped


def save_with_shared_weights(
    models: dict[str, ModelProto], folder: Path, weights_name: str
) -> None:
    """Write graphs, and one file with the weights of all of them.

    Args:
        models: graphs by file name; not changed.
        folder: existing folder.
        weights_name: name of the weights file.

    Raises:
        ExportError: a graph is not valid ONNX.
    """
    offsets: dict[bytes, int] = {}  # by SHA-256 of the tensor's bytes
    with (folder / weights_name).open("wb") as weights:
        for name, model in models.items():
            saved = ModelProto()
            saved.CopyFrom(model)
            for tensor in saved.graph.initializer:
                raw = numpy_helper.to_array(tensor).tobytes()
                if len(raw) < _MIN_EXTERNAL_BYTES:
                    continue
                digest = hashlib.sha256(raw).digest()
                if digest not in offsets:
                    weights.seek(-weights.tell() % _ALIGNMENT_BYTES, 1)
                    offsets[digest] = weights.tell()
                    weights.write(raw)
                _make_external(tensor, weights_name, raw, offsets[digest])
            onnx.save_model(saved, folder / name)
    for name in models:
        try:
            onnx.checker.check_model(folder / name, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            problem = f"{name} is not valid ONNX ({error})"
            raise ExportError(problem, "Please report this.") from error


@contextmanager
def temporary_graph(model: ModelProto) -> Iterator[Path]:
    """Write a graph with its weights for as long as the context lasts; return the graph's path."""
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder, "candidate.onnx")
        save_with_shared_weights({graph.name: model}, graph.parent, "weights.bin")
        yield graph


def _make_external(tensor: TensorProto, weights_name: str, raw: bytes, offset: int) -> None:
    """Replace a tensor's data by a reference into the weights file."""
    tensor.raw_data = raw  # set_external_data requires it, whichever field held the data
    external_data_helper.set_external_data(
        tensor, location=weights_name, offset=offset, length=len(raw)
    )
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
        tensor.ClearField(field)
