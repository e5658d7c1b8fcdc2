"""Build backends for a bundle: CPU backends, ONNX Runtime on GPUs, TensorRT engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from wmh_runtime.backends.base import Backend
from wmh_runtime.backends.gpu.device import Device
from wmh_runtime.backends.gpu.driver import device_type
from wmh_runtime.backends.onnx_graph import CpuBackend
from wmh_runtime.backends.onnxruntime_gpu import OnnxRuntimeGpuBackend
from wmh_runtime.backends.registry import CPU_BACKENDS, ENGINE_KINDS, GPU_BACKENDS
from wmh_runtime.backends.tensorrt_engine import EngineBackend
from wmh_runtime.backends.tensorrt_library import load_tensorrt
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.bundle.manifest import File
from wmh_runtime.errors import BackendError, InputError
from wmh_runtime.inference.engine_selection import select_engine
from wmh_runtime.precision import Precision
from wmh_runtime.tta import VIEWS, Views
from wmh_runtime.types import EngineKind

ENGINE_PRECISION: Precision = "fp16"  # of all engines


@dataclass(frozen=True)
class BackendOptions:
    """What is asked of a backend. What is None or empty is chosen for the user."""

    views: Views
    precision: Precision
    batch_size: int | None = None  # slices
    threads: int | None = None  # of the CPU; None: one per core
    gpus: tuple[int, ...] = ()  # indices; empty: the first
    driver: type[Device] | None = None  # library that drives the GPUs; None: the installed one
    num_streams: int | None = None  # batches that a CPU runs at a time; None: the fastest


@dataclass(frozen=True)
class BuiltBackend:
    """A backend that is not open yet."""

    backend: Backend
    file: File  # the graph or the engine that it runs


@dataclass(frozen=True)
class BackendFactory:
    """One kind of backend: its name, what it can do, and how to build it."""

    name: str
    precisions: tuple[Precision, ...]
    is_gpu: bool
    is_automatic: bool  # may be chosen for the user
    require_installed: Callable[[], object]  # raises NotInstalledError or BackendError
    build: Callable[[Bundle, BackendOptions], list[BuiltBackend]]  # one for each device

    def require_compatible(self, options: BackendOptions) -> None:
        """Check that the options fit this kind of backend.

        Raises:
            BackendError: it does not have the precision.
            InputError: an option is for another kind of device.
        """
        if options.precision not in self.precisions:
            raise BackendError(
                f"does not compute in {options.precision}",
                f"Choose precision {' or '.join(self.precisions)}, or another backend.",
                about=self.name,
            )
        advice = "Leave it out, or choose another backend."
        if self.is_gpu and options.threads is not None:
            raise InputError(f"{self.name} runs on a GPU", advice, about="threads")
        if not self.is_gpu and options.gpus:
            raise InputError(f"{self.name} runs on the CPU", advice, about="gpus")


def backend_factories() -> list[BackendFactory]:
    """Return all kinds of backends, the fastest first."""
    engines = [
        BackendFactory(
            kind,
            (ENGINE_PRECISION,),
            True,
            True,
            partial(load_tensorrt, kind),
            partial(_build_engines, kind),
        )
        for kind in ENGINE_KINDS
    ]
    gpu = [
        BackendFactory(
            kind.name,
            kind.precisions,
            True,
            kind.is_automatic,
            kind.require_installed,
            partial(_build_gpu_backends, kind),
        )
        for kind in GPU_BACKENDS
    ]
    cpu = [
        BackendFactory(
            kind.name,
            kind.precisions,
            False,
            True,
            kind.require_installed,
            partial(_build_cpu_backend, kind),
        )
        for kind in reversed(CPU_BACKENDS)
    ]
    return [*engines, *gpu, *cpu]


def _build_engines(kind: EngineKind, bundle: Bundle, options: BackendOptions) -> list[BuiltBackend]:
    library = load_tensorrt(kind)
    device, indices = _select_gpus(options)
    batch_size = options.batch_size or _gpu_batch_size(options.views)
    engine = select_engine(
        bundle,
        kind=kind,
        version=library.version,
        gpu=device.gpu_by_index(indices[0]),
        views=options.views,
        batch_size=batch_size,
    )
    return [
        BuiltBackend(
            EngineBackend(
                bundle.path_of(engine),
                library,
                device,
                bundle.manifest.network_shape,
                gpu_index=index,
                precision=options.precision,
                batch_size=batch_size,
            ),
            engine,
        )
        for index in indices
    ]


def _build_gpu_backends(
    kind: type[OnnxRuntimeGpuBackend], bundle: Bundle, options: BackendOptions
) -> list[BuiltBackend]:
    kind.require_installed()
    device, indices = _select_gpus(options)
    graph = bundle.graph(
        views=options.views, precision=options.precision, provider=kind.graph_provider
    )
    return [
        BuiltBackend(
            kind(
                bundle.path_of(graph),
                bundle.manifest.network_shape,
                device,
                gpu_index=index,
                precision=options.precision,
                batch_size=options.batch_size or _gpu_batch_size(options.views),
            ),
            graph,
        )
        for index in indices
    ]


def _build_cpu_backend(
    kind: type[CpuBackend], bundle: Bundle, options: BackendOptions
) -> list[BuiltBackend]:
    kind.require_installed()
    backend = kind.from_bundle(
        bundle,
        views=options.views,
        precision=options.precision,
        batch_size=options.batch_size or 1,  # the fastest on CPUs
        threads=options.threads,
        num_streams=options.num_streams,
    )
    return [BuiltBackend(backend, kind.graph_in(bundle, options.precision))]


def _select_gpus(options: BackendOptions) -> tuple[type[Device], Sequence[int]]:
    """Return the library that drives the GPUs, and the indices of those to use.

    Raises:
        BackendError: a GPU is missing, or the GPUs are of several models: then a result would
            depend on which of them was free.
    """
    device = options.driver or device_type()
    indices = options.gpus or (0,)
    models = {device.gpu_by_index(index).name for index in indices}
    if len(models) > 1:
        names = ", ".join(sorted(models))
        problem = f"the GPUs are of several models ({names}), whose results differ slightly"
        raise BackendError(problem, "Use one model at a time.", about="gpus")
    return device, indices


def _gpu_batch_size(views: Views) -> int:
    """Return the default batch size on GPUs: as many slices as make eight views."""
    return len(VIEWS) // views
