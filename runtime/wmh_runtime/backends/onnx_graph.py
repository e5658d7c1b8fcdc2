"""Base classes of the backends that execute an ONNX graph, on a CPU or on a GPU."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from wmh_runtime.backends.base import BlockingBackend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.bundle.manifest import Graph
from wmh_runtime.errors import BackendError, NotInstalledError
from wmh_runtime.machine import available_cores
from wmh_runtime.precision import Precision
from wmh_runtime.text import install_advice
from wmh_runtime.tta import VIEWS, View, Views
from wmh_runtime.types import Floats, NetworkShape

# Default on CPUs: two batches at a time, each with half of the threads. Threads that share less
# work wait less for each other.
_DEFAULT_NUM_STREAMS = 2


class OnnxBackend(BlockingBackend):
    """Executes an ONNX graph.

    Args:
        graph: the .onnx file.
        shape: channels, outputs and slice size of the network.
        precision: the precision to compute in. `STORED_PRECISION` says which graphs it takes.
        batch_size: slices per batch.

    Raises:
        BackendError: this backend does not have the precision. On entry: the library is missing
            or rejects the graph.
    """

    precisions: ClassVar[tuple[Precision, ...]]  # the fastest last
    emulated_precisions: ClassVar[tuple[Precision, ...]] = ()  # accepted, but computed in float32
    library: ClassVar[str]  # name of the Python module
    extras: ClassVar[str]  # extras of this package that install the library

    def __init__(
        self,
        graph: Path,
        shape: NetworkShape,
        *,
        precision: Precision = "fp32",
        batch_size: int = 1,
    ) -> None:
        super().__init__(shape, batch_size)
        if precision not in (*self.precisions, *self.emulated_precisions):
            raise BackendError(
                f"does not compute in {precision}",
                f"Choose from: {', '.join(self.precisions)}, or another backend.",
                about=self.name,
            )
        self.precision = precision
        self.emulated = precision in self.emulated_precisions
        self._graph = graph

    @classmethod
    def require_installed(cls) -> None:
        """Raise NotInstalledError if the library is missing."""
        if find_spec(cls.library) is None:
            problem = f"the library {cls.library} is not installed"
            raise NotInstalledError(problem, cls.install_advice(), about=cls.name)

    @classmethod
    def install_advice(cls) -> str:
        """Return the sentence that says how to install the library."""
        return install_advice(cls.extras)

    @classmethod
    def supported_precisions(cls) -> tuple[Precision, ...]:
        """Return the precisions that this machine supports. The library must be installed."""
        return cls.precisions


class CpuBackend(OnnxBackend):
    """Executes an ONNX graph on the CPU.

    A slice in eight views is executed as eight slices by the graph of one view. The graph of eight
    views is for GPUs: on a CPU, it is hardly faster or slower, and has eight views in memory at a
    time.

    Args:
        graph: the .onnx file.
        shape: channels, outputs and slice size of the network.
        precision: the precision to compute in.
        batch_size: slices per batch.
        threads: CPU threads. None: one per core.
        num_streams: batches executed at the same time; they share the threads. None: two.
        views: of each slice that are executed, one after another; the output is their mean. By
            default the slice as it is.
    """

    device = "cpu"
    emulated_precisions = ("fp16",)

    def __init__(
        self,
        graph: Path,
        shape: NetworkShape,
        *,
        precision: Precision = "fp32",
        batch_size: int = 1,
        threads: int | None = None,
        num_streams: int | None = None,
        views: Sequence[View] = VIEWS[:1],
    ) -> None:
        super().__init__(graph, shape, precision=precision, batch_size=batch_size)
        self._views = views
        self._threads = threads or available_cores()
        self.num_streams = min(num_streams or _DEFAULT_NUM_STREAMS, self._threads)

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        *,
        views: Views = 8,
        precision: Precision = "fp32",
        batch_size: int = 1,
        threads: int | None = None,
        num_streams: int | None = None,
    ) -> Self:
        """Create the backend for a bundle.

        Args:
            bundle: an open bundle.
            views: number of views of each slice that are averaged.
            precision: the precision to compute in.
            batch_size: slices per batch.
            threads: CPU threads. None: one per core.
            num_streams: batches executed at the same time. None: two.

        Raises:
            BundleError: the bundle has no such graph.
            BackendError: this backend does not have the precision.
        """
        if precision in cls.emulated_precisions:
            raise BackendError(
                f"would only emulate {precision}, slower than float32",
                f"Choose from: {', '.join(cls.precisions)}.",
                about=cls.name,
            )
        return cls(
            bundle.path_of(cls.graph_in(bundle, precision)),
            bundle.manifest.network_shape,
            precision=precision,
            batch_size=batch_size,
            threads=threads,
            num_streams=num_streams,
            views=VIEWS[:views],
        )

    @staticmethod
    def graph_in(bundle: Bundle, precision: Precision) -> Graph:
        """Return the graph of a bundle that is executed.

        Raises:
            BundleError: the bundle has none in this precision.
        """
        return bundle.graph(views=1, precision=precision)

    def _execute(self, batch: Floats) -> Floats:
        by_view = [
            view.undo(self._run(np.ascontiguousarray(view.apply(batch)))) for view in self._views
        ]
        mean: Floats = np.mean(by_view, axis=0)
        return mean

    @abstractmethod
    def _run(self, batch: Floats) -> Floats:
        """Execute the graph on one full batch, [batch_size, C, S, S] to [batch_size, K, S, S].

        Up to `num_streams` threads call this at the same time.
        """
