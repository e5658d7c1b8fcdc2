"""What backends that execute an ONNX graph have in common, on a processor or on a GPU."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Self

from wmh_runtime.backends.base import BlockingBackend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.errors import BackendError, NotInstalledError
from wmh_runtime.machine import available_cores
from wmh_runtime.precision import Precision
from wmh_runtime.tta import Views
from wmh_runtime.types import NetworkShape

# Batches at a time on a processor: each has half of its threads, which wait for fewer others.
_AT_ONCE = 2


class OnnxBackend(BlockingBackend):
    """Executes an ONNX graph.

    Args:
        graph: the .onnx file.
        shape: of the network in it.
        precision: to compute in: the graph's own, or one that it is written for (`WRITTEN_AS`).
        batch_size: slices executed at a time.

    Raises:
        BackendError: the precision is none of this backend's; on entry, where the library is
            missing or refuses the graph.
    """

    precisions: ClassVar[tuple[Precision, ...]]  # fastest last
    emulates: ClassVar[tuple[Precision, ...]] = ()  # takes it, computes in float32
    library: ClassVar[str]  # the module that it needs
    extras: ClassVar[str]  # of this distribution, which install it

    def __init__(
        self,
        graph: Path,
        shape: NetworkShape,
        *,
        precision: Precision = "fp32",
        batch_size: int = 1,
    ) -> None:
        super().__init__(shape, batch_size)
        if precision not in (*self.precisions, *self.emulates):
            raise BackendError(
                f"does not compute in {precision}",
                f"Choose from: {', '.join(self.precisions)}, or another backend.",
                about=self.name,
            )
        self.precision = precision
        self.emulated = precision in self.emulates
        self._graph = graph

    @classmethod
    def require_installed(cls) -> None:
        """Raise NotInstalledError where its library is missing."""
        if find_spec(cls.library) is None:
            raise NotInstalledError("is not installed", cls.install_advice(), about=cls.name)

    @classmethod
    def install_advice(cls) -> str:
        """Say how to install its library."""
        return f"Run in the project's folder: pip install '.[{cls.extras}]'"

    @classmethod
    def precisions_here(cls) -> tuple[Precision, ...]:
        """The precisions that this machine has; the library must be installed."""
        return cls.precisions


class CpuBackend(OnnxBackend):
    """Executes an ONNX graph on the processor.

    Args:
        graph: the .onnx file.
        shape: of the network in it.
        precision: to compute in.
        batch_size: slices executed at a time.
        threads: of the processor; None is one a core.
        num_streams: batches executed at the same time, which share the threads; None is the
            fastest.
    """

    device = "cpu"
    emulates = ("fp16",)

    def __init__(
        self,
        graph: Path,
        shape: NetworkShape,
        *,
        precision: Precision = "fp32",
        batch_size: int = 1,
        threads: int | None = None,
        num_streams: int | None = None,
    ) -> None:
        super().__init__(graph, shape, precision=precision, batch_size=batch_size)
        self._threads = threads or available_cores()
        self.num_streams = min(num_streams or _AT_ONCE, self._threads)

    @classmethod
    def of_bundle(
        cls,
        bundle: Bundle,
        *,
        views: Views = 8,
        precision: Precision = "fp32",
        batch_size: int = 1,
        threads: int | None = None,
        num_streams: int | None = None,
    ) -> Self:
        """Execute a graph of a bundle.

        Args:
            bundle: verified.
            views: averaged within the graph.
            precision: to compute in.
            batch_size: slices executed at a time.
            threads: of the processor; None is one a core.
            num_streams: batches executed at the same time; None is the fastest.

        Raises:
            BundleError: the bundle has no such graph.
            BackendError: the precision is none of this backend's.
        """
        if precision in cls.emulates:
            raise BackendError(
                f"would only emulate {precision}, slower than float32",
                f"Choose from: {', '.join(cls.precisions)}.",
                about=cls.name,
            )
        graph = bundle.graph(views=views, precision=precision)
        return cls(
            bundle.path_of(graph),
            bundle.manifest.network_shape,
            precision=precision,
            batch_size=batch_size,
            threads=threads,
            num_streams=num_streams,
        )
