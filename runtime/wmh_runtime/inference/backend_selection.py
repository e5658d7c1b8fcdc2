"""What executes a bundle on this machine: what was asked for by name, or the fastest that can."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.conformance.acceptance import check_acceptance
from wmh_runtime.errors import (
    BackendError,
    BundleError,
    InputError,
    NoGpuError,
    NotInstalledError,
    WmhError,
)
from wmh_runtime.inference.engine_selection import select_engine
from wmh_runtime.precision import Precision
from wmh_runtime.tta import VIEWS, Views
from wmh_runtime.types import EngineKind

AUTO = "auto"
_ENGINES: Precision = "fp16"  # what all are built in


@dataclass(frozen=True)
class BackendOptions:
    """What a backend shall do. What is None or empty is chosen for it."""

    views: Views
    precision: Precision
    batch_size: int | None = None
    threads: int | None = None  # of a processor; None: one a core
    gpus: tuple[int, ...] = ()  # by their numbers; empty: the first
    driver: type[Device] | None = None  # of GPUs; None: what is installed
    num_streams: int | None = None  # batches that a processor executes at a time; None: the fastest


@dataclass(frozen=True)
class _Candidate:
    backend: Backend  # not open yet
    executes: File  # the graph or the engine


@dataclass(frozen=True)
class OpenBackends:
    """What executes, open."""

    backends: Sequence[Backend]  # one for each device, all alike
    compared: Parity | None  # with the trained network, where that had not been done here before
    passed_over: Sequence[str]  # by `auto`: what would be faster, and why it is not used

    def __str__(self) -> str:
        backend = self.backends[0]
        several = f"{len(self.backends)} × " if len(self.backends) > 1 else ""
        return f"{several}{backend.description} in {backend.precision}"


@dataclass(frozen=True)
class _Kind:
    """A backend before it is made."""

    name: str
    precisions: tuple[Precision, ...]
    is_gpu: bool
    make: Callable[[Bundle, BackendOptions], list[_Candidate]]


def parse_backend(name: str) -> str:
    """Return the name of a backend, or `auto`, from letters of any case.

    Raises:
        InputError: there is none of this name.
    """
    known = [AUTO, *(kind.name for kind in _kinds())]
    if name.lower() not in known:
        advice = f"Choose from: {', '.join(known)}."
        raise InputError(f"there is no backend {name}", advice, about="--backend")
    return name.lower()


def list_backends() -> list[tuple[str, tuple[Precision, ...]]]:
    """Return the names of all backends with the precisions of each, the fastest first."""
    return [(kind.name, kind.precisions) for kind in _kinds()]


def build_unverified(bundle: Bundle, name: str, wanted: BackendOptions) -> Sequence[Backend]:
    """Make what would execute a bundle: not open, and not compared with the trained network.

    For measuring; whoever wants masks asks for `executing`.

    Args:
        bundle: verified.
        name: of a backend, not `auto`.
        wanted: what it shall do.

    Returns:
        One for each device.

    Raises:
        InputError: there is no such backend, or it is not installed, or an option is not its own.
        BackendError: it cannot be used here.
        BundleError: the bundle has no graph or engine for it.
    """
    (kind,) = (kind for kind in _kinds() if kind.name == parse_backend(name))
    _require_own_options(kind, wanted)
    return [one.backend for one in kind.make(bundle, wanted)]


@contextmanager
def open_backends(bundle: Bundle, name: str, wanted: BackendOptions) -> Iterator[OpenBackends]:
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
    name = parse_backend(name)
    kinds = {kind.name: kind for kind in _kinds()}
    with ExitStack() as stack:
        if name != AUTO:
            _require_own_options(kinds[name], wanted)
            yield _opened(bundle, kinds[name].make(bundle, wanted), wanted, stack, ())
        else:
            yield _fastest(bundle, kinds.values(), wanted, stack)


def _require_own_options(kind: _Kind, wanted: BackendOptions) -> None:
    if wanted.precision not in kind.precisions:
        raise BackendError(
            f"does not compute in {wanted.precision}",
            f"Give --precision {' or '.join(kind.precisions)}, or another --backend.",
            about=kind.name,
        )
    advice = "Leave it out, or choose another --backend."
    if kind.is_gpu and wanted.threads is not None:
        raise InputError(f"{kind.name} executes on a GPU", advice, about="--threads")
    if not kind.is_gpu and wanted.gpus:
        raise InputError(f"{kind.name} executes on the processor", advice, about="--device")


def _fastest(
    bundle: Bundle, kinds: Iterable[_Kind], wanted: BackendOptions, stack: ExitStack
) -> OpenBackends:
    """Open the first of all that could be asked for which can be used."""
    refusals: dict[str, WmhError] = {}
    for kind in kinds:
        with ExitStack() as attempt:
            try:
                _require_own_options(kind, wanted)
            except (BackendError, InputError):
                continue
            try:
                found = _opened(
                    bundle, kind.make(bundle, wanted), wanted, attempt, _worth_telling(refusals)
                )
            except (BackendError, BundleError, InputError) as error:
                refusals[kind.name] = error
                continue
            stack.push(attempt.pop_all())
            return found
    for refusal in refusals.values():
        if not isinstance(refusal, NotInstalledError):
            raise refusal
    *_, last = ["no option fits another", *refusals.values()]
    on_gpus = " on a GPU" if wanted.gpus or wanted.precision == _ENGINES else ""
    raise BackendError(
        f"nothing here computes in {wanted.precision}{on_gpus}: {last}",
        "docs/gpu.md says what a GPU needs; without one, leave out --device and take another"
        " --precision than fp16."
        if on_gpus
        else "",
        about=f"--backend {AUTO}",
    )


def _worth_telling(refusals: Mapping[str, WmhError]) -> list[str]:
    """Return what a user would not expect: what is installed, has its GPU, and cannot be used."""
    return [
        f"{name} is not used: {error}"
        for name, error in refusals.items()
        if not isinstance(error, (NotInstalledError, NoGpuError))
    ]


def _opened(
    bundle: Bundle,
    candidates: Sequence[_Candidate],
    wanted: BackendOptions,
    stack: ExitStack,
    passed_over: Sequence[str],
) -> OpenBackends:
    compared = None
    for one in candidates:
        stack.enter_context(one.backend)
        compared = check_acceptance(bundle, one.backend, one.executes, wanted.views) or compared
    return OpenBackends([one.backend for one in candidates], compared, passed_over)


def _kinds() -> list[_Kind]:
    """Return all backends, the fastest first."""
    engines = [_Kind(kind, (_ENGINES,), True, partial(_engines, kind)) for kind in ENGINE_KINDS]
    on_gpus = [
        _Kind(kind.name, kind.precisions, True, partial(_on_gpus, kind)) for kind in GPU_BACKENDS
    ]
    on_processor = [
        _Kind(kind.name, kind.precisions, False, partial(_on_processor, kind))
        for kind in reversed(CPU_BACKENDS)
    ]
    return [*engines, *on_gpus, *on_processor]


def _engines(kind: EngineKind, bundle: Bundle, wanted: BackendOptions) -> list[_Candidate]:
    toolkit = load_tensorrt(kind)
    device, numbers = _gpus(wanted)
    batch_size = wanted.batch_size or _best_on_gpus(wanted.views)
    engine = select_engine(
        bundle,
        kind=kind,
        version=toolkit.version,
        gpu=device.gpu_by_index(numbers[0]),
        views=wanted.views,
        batch_size=batch_size,
    )
    plan, shape = bundle.path_of(engine), bundle.manifest.network_shape
    return [
        _Candidate(
            EngineBackend(
                plan,
                toolkit,
                device,
                shape,
                number=number,
                precision=wanted.precision,
                batch_size=batch_size,
            ),
            engine,
        )
        for number in numbers
    ]


def _on_gpus(
    kind: type[OnnxRuntimeGpuBackend], bundle: Bundle, wanted: BackendOptions
) -> list[_Candidate]:
    graph = bundle.graph(views=wanted.views, precision=wanted.precision)
    kind.require_installed()
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


def _on_processor(
    kind: type[CpuBackend], bundle: Bundle, wanted: BackendOptions
) -> list[_Candidate]:
    kind.require_installed()
    backend = kind.of_bundle(
        bundle,
        views=wanted.views,
        precision=wanted.precision,
        batch_size=wanted.batch_size or 1,  # processors are best so
        threads=wanted.threads,
        num_streams=wanted.num_streams,
    )
    return [_Candidate(backend, bundle.graph(views=wanted.views, precision=wanted.precision))]


def _gpus(wanted: BackendOptions) -> tuple[type[Device], Sequence[int]]:
    """Return what drives the GPUs, and which of them.

    Raises:
        BackendError: one is not there, or they are of several models, so that a result would
            depend on which was free.
    """
    device = wanted.driver or device_type()
    numbers = wanted.gpus or (0,)
    models = {device.gpu_by_index(number).name for number in numbers}
    if len(models) > 1:
        problem = f"are of several models ({', '.join(sorted(models))}), whose results differ a bit"
        raise BackendError(problem, "Give a run for each.", about="--device")
    return device, numbers


def _best_on_gpus(views: Views) -> int:
    """Return how many slices to execute at a time: eight views."""
    return len(VIEWS) // views
