"""What executes a bundle on this machine: what was asked for by name, or the fastest that can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from wmh_runtime.backends.base import Backend
from wmh_runtime.backends.engine import EngineBackend
from wmh_runtime.backends.graph import ProcessorBackend
from wmh_runtime.backends.onnxruntime_gpu import OnnxRuntimeGpuBackend
from wmh_runtime.backends.select import (
    ENGINE_KINDS,
    GPU_BACKENDS,
    PROCESSOR_BACKENDS,
    backend_named,
)
from wmh_runtime.backends.toolkit import load_toolkit
from wmh_runtime.bundle import Bundle
from wmh_runtime.devices.base import Device
from wmh_runtime.devices.select import device_type
from wmh_runtime.errors import BackendError, BundleError, InputError
from wmh_runtime.first_use import compare_once
from wmh_runtime.manifest import EngineKind, File
from wmh_runtime.parity import Parity
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import Precision, Views

AUTO = "auto"
_ENGINES: Precision = "fp16"  # what all are built in


@dataclass(frozen=True)
class Wanted:
    """What a backend shall do. What is None or empty is chosen for it."""

    views: Views
    precision: Precision
    batch_size: int | None = None
    threads: int | None = None  # of a processor; None: one a core
    gpus: tuple[int, ...] = ()  # by their numbers; empty: the first


@dataclass(frozen=True)
class _Candidate:
    backend: Backend  # not open yet
    executes: File  # the graph or the engine


@dataclass(frozen=True)
class Executing:
    """What executes, open."""

    backends: Sequence[Backend]  # one for each device, all alike
    compared: Parity | None  # with the trained network, where that had not been done here before
    passed_over: Sequence[str]  # by `auto`: what would be faster, and why it cannot be used

    def __str__(self) -> str:
        backend = self.backends[0]
        several = f"{len(self.backends)} × " if len(self.backends) > 1 else ""
        return f"{several}{backend.description} in {backend.precision}"


_Make = Callable[[Bundle, Wanted], list[_Candidate]]


@contextmanager
def executing(bundle: Bundle, name: str, wanted: Wanted) -> Iterator[Executing]:
    """Open what executes a bundle, and compare it with the trained network where that is due.

    Args:
        bundle: verified.
        name: of a backend, or `auto` for the fastest that is installed, has the precision and
            agrees with the network; the precision and the views are never chosen.
        wanted: what it shall do.

    Raises:
        InputError: there is no such backend, or it is not installed, or an option is not its own.
        BackendError: it cannot be used, or computes another result than the trained network.
        BundleError: the bundle has no graph or engine for it.
    """
    makers = _makers()
    if name != AUTO and name not in makers:
        advice = f"Choose from: {', '.join([AUTO, *makers])}."
        raise InputError(f"there is no backend {name}", advice, about="--backend")
    with ExitStack() as stack:
        if name != AUTO:
            yield _opened(bundle, makers[name](bundle, wanted), wanted, stack, ())
        else:
            yield _fastest(bundle, makers, wanted, stack)


def _fastest(
    bundle: Bundle, makers: dict[str, _Make], wanted: Wanted, stack: ExitStack
) -> Executing:
    """Open the first that can be used."""
    passed_over: list[str] = []
    *_, last = makers
    for name, make in makers.items():
        with ExitStack() as attempt:
            try:
                found = _opened(bundle, make(bundle, wanted), wanted, attempt, passed_over)
            except (BackendError, BundleError, InputError) as error:
                if name == last:
                    raise
                passed_over.append(f"{name} is not used: {error}")
                continue
            stack.push(attempt.pop_all())
            return found
    raise AssertionError("the last one returns or raises")


def _opened(
    bundle: Bundle,
    candidates: Sequence[_Candidate],
    wanted: Wanted,
    stack: ExitStack,
    passed_over: Sequence[str],
) -> Executing:
    compared = None
    for one in candidates:
        stack.enter_context(one.backend)
        compared = compare_once(bundle, one.backend, one.executes, wanted.views) or compared
    return Executing([one.backend for one in candidates], compared, tuple(passed_over))


def _makers() -> dict[str, _Make]:
    """Return what makes each backend, the fastest first."""
    makers: dict[str, _Make] = {kind: _engines(kind) for kind in ENGINE_KINDS}
    makers |= {kind.name: _on_gpus(kind) for kind in GPU_BACKENDS}
    makers |= {kind.name: _on_processor(kind) for kind in reversed(PROCESSOR_BACKENDS)}
    return makers


def _engines(kind: EngineKind) -> _Make:
    def make(bundle: Bundle, wanted: Wanted) -> list[_Candidate]:
        _refuse_threads(kind, wanted)
        if wanted.precision != _ENGINES:
            problem = f"does not compute in {wanted.precision}"
            raise BackendError(
                problem, f"Its engines are {_ENGINES}: give --precision.", about=kind
            )
        toolkit = load_toolkit(kind)
        device, numbers = _gpus(wanted)
        batch_size = wanted.batch_size or _best_on_gpus(wanted.views)
        engine = bundle.engine(
            kind=kind,
            version=toolkit.version,
            gpu=device.gpu_numbered(numbers[0]),
            views=wanted.views,
            batch_size=batch_size,
        )
        return [
            _Candidate(
                EngineBackend(
                    bundle.path_of(engine),
                    toolkit,
                    device,
                    bundle.manifest.network_shape,
                    number=number,
                    precision=wanted.precision,
                    batch_size=batch_size,
                ),
                engine,
            )
            for number in numbers
        ]

    return make


def _on_gpus(kind: type[OnnxRuntimeGpuBackend]) -> _Make:
    def make(bundle: Bundle, wanted: Wanted) -> list[_Candidate]:
        _refuse_threads(kind.name, wanted)
        graph = bundle.graph(views=wanted.views, precision=wanted.precision)
        device, numbers = _gpus(wanted)
        return [
            _Candidate(
                kind(
                    bundle.path_of(graph),
                    bundle.manifest.network_shape,
                    device,
                    number=number,
                    precision=wanted.precision,
                    batch_size=wanted.batch_size or _best_on_gpus(wanted.views),
                ),
                graph,
            )
            for number in numbers
        ]

    return make


def _on_processor(kind: type[ProcessorBackend]) -> _Make:
    def make(bundle: Bundle, wanted: Wanted) -> list[_Candidate]:
        if wanted.gpus:
            problem = f"{kind.name} executes on the processor"
            raise InputError(
                problem, "Leave it out, or choose another --backend.", about="--device"
            )
        backend = backend_named(kind.name).of_bundle(
            bundle,
            views=wanted.views,
            precision=wanted.precision,
            batch_size=wanted.batch_size or 1,  # processors are best so
            threads=wanted.threads,
        )
        return [_Candidate(backend, bundle.graph(views=wanted.views, precision=wanted.precision))]

    return make


def _refuse_threads(name: str, wanted: Wanted) -> None:
    if wanted.threads is not None:
        problem = f"{name} executes on a GPU"
        raise InputError(problem, "Leave it out, or choose another --backend.", about="--threads")


def _gpus(wanted: Wanted) -> tuple[type[Device], Sequence[int]]:
    """Return what drives the GPUs, and which of them.

    Raises:
        BackendError: one is not there, or they are of several models, so that a result would
            depend on which was free.
    """
    device = device_type()
    numbers = wanted.gpus or (0,)
    models = {device.gpu_numbered(number).name for number in numbers}
    if len(models) > 1:
        problem = f"are of several models ({', '.join(sorted(models))}), whose results differ a bit"
        raise BackendError(problem, "Give a run for each.", about="--device")
    return device, numbers


def _best_on_gpus(views: Views) -> int:
    """Return how many slices to execute at a time: eight views."""
    return len(VIEWS) // views
