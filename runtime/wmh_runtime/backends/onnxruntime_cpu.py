"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wmh_runtime.backends.onnx_graph import CpuBackend
from wmh_runtime.errors import BackendError
from wmh_runtime.types import Floats

_PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeBackend(CpuBackend):
    """Executes an ONNX graph with ONNX Runtime on the CPU."""

    name = "onnxruntime"
    library = "onnxruntime"
    precisions = ("fp32", "int8")
    extras = "cpu"
    _session: Any = None

    @property
    def versions(self) -> dict[str, str]:
        """The version of ONNX Runtime."""
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__}

    def _open(self) -> None:
        # Each calling thread computes too, so ONNX Runtime gets fewer threads of its own.
        self._session = open_session(self._graph, self._threads - self.num_streams + 1)

    def _close(self) -> None:
        self._session = None

    def _run(self, batch: Floats) -> Floats:
        (name,) = (tensor.name for tensor in self._session.get_inputs())
        try:
            (probability,) = self._session.run(None, {name: batch})
        except Exception as error:  # ONNX Runtime's errors have no public base class
            raise BackendError(
                f"failed on a batch of {len(batch)}: {error}", about=self.name
            ) from error
        return probability


def open_session(graph: Path, threads: int | None = None) -> Any:
    """Open a graph file in ONNX Runtime on the CPU.

    Raises:
        BackendError: ONNX Runtime is not installed, or rejects the graph.
    """
    OnnxRuntimeBackend.require_installed()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # errors only: the warnings are about its own optimizer
    # Threads that spin while they wait slow down preprocessing and postprocessing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=[_PROVIDER])
    except Exception as error:  # ONNX Runtime's errors have no public base class
        raise BackendError(f"ONNX Runtime rejects the graph: {error}", about=graph) from error
