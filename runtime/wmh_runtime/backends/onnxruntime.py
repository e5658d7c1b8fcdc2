"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle import Bundle
from wmh_runtime.errors import BackendError
from wmh_runtime.types import Floats, NetworkShape, Precision, Views

_PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeBackend(Backend):
    """Executes an ONNX graph with ONNX Runtime on the CPU.

    Args:
        graph: the .onnx file.
        shape: of the network in it.
        precision: of the graph.
        batch_size: slices executed at a time.
        threads: of the processor; None leaves it to ONNX Runtime (one a core).

    Raises:
        BackendError: on entry, where ONNX Runtime is missing or refuses the graph.
    """

    name = "onnxruntime"
    device = "cpu"

    def __init__(
        self,
        graph: Path,
        shape: NetworkShape,
        *,
        precision: Precision = "fp32",
        batch_size: int = 1,
        threads: int | None = None,
    ) -> None:
        super().__init__(shape, batch_size)
        self.precision = precision
        self._graph = graph
        self._threads = threads
        self._session: Any = None

    @classmethod
    def of_bundle(
        cls, bundle: Bundle, *, views: Views = 8, batch_size: int = 1, threads: int | None = None
    ) -> OnnxRuntimeBackend:
        """Execute a bundle in its default precision, eight views averaged in the graph or one.

        Raises:
            BundleError: the bundle has no such graph.
        """
        precision = bundle.manifest.default_precision
        graph = bundle.path_of(bundle.graph(views=views, precision=precision))
        return cls(
            graph,
            bundle.manifest.network_shape,
            precision=precision,
            batch_size=batch_size,
            threads=threads,
        )

    @property
    def versions(self) -> dict[str, str]:
        """The version of ONNX Runtime."""
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__}

    def _open(self) -> None:
        self._session = open_session(self._graph, self._threads)

    def _close(self) -> None:
        self._session = None

    def _execute(self, batch: Floats) -> Floats:
        (name,) = (tensor.name for tensor in self._session.get_inputs())
        try:
            (probability,) = self._session.run(None, {name: batch})
        except Exception as error:  # ONNX Runtime's own errors share no public base
            raise BackendError(
                f"failed on a batch of {len(batch)}: {error}", about=self.name
            ) from error
        return probability


def open_session(graph: Path, threads: int | None = None) -> Any:
    """Open a graph file in ONNX Runtime on the CPU.

    Raises:
        BackendError: ONNX Runtime is not installed, or refuses the graph.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(
            "is not installed", "Run: pip install onnxruntime", about="ONNX Runtime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # errors only: its warnings are about its own optimiser
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=[_PROVIDER])
    except Exception as error:  # ONNX Runtime's own errors share no public base
        raise BackendError(f"ONNX Runtime refuses the graph: {error}", about=graph) from error
