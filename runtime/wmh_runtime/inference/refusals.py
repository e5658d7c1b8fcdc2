"""The error if no backend can do what the user asked for: what that was, why not, what to do."""

from __future__ import annotations

from collections.abc import Mapping

from wmh_runtime.errors import BackendError, NoGpuError, NotInstalledError, WmhError
from wmh_runtime.inference.backend_factory import (
    ENGINE_PRECISION,
    BackendOptions,
    backend_factories,
)
from wmh_runtime.text import uncapitalize


def is_expected(refusal: WmhError) -> bool:
    """Return whether a backend is not installed, or has no GPU here."""
    return isinstance(refusal, (NotInstalledError, NoGpuError))


def no_backend_error(options: BackendOptions, refusals: Mapping[str, WmhError]) -> BackendError:
    """Return the error.

    Args:
        options: what the user asked for.
        refusals: why each backend that fits the options cannot be used, by name, the fastest first.
            Empty: the options exclude each other.
    """
    field = _field(options)
    if not refusals:
        return _excluding_options(options, field)
    problem = f"no backend {_wanted(options)} here ({_reasons(refusals)})"
    return BackendError(problem, _remedy(options, refusals), about=field)


def _field(options: BackendOptions) -> str:
    """Return what the user chose; precision fp32 is the default."""
    if options.gpus:
        return "gpus"
    return "backend" if options.precision == "fp32" else "precision"


def _wanted(options: BackendOptions) -> str:
    on_gpu = f" on GPU {', '.join(map(str, options.gpus))}" if options.gpus else ""
    on_cpu = " on the CPU" if options.threads is not None else ""
    return f"computes in {options.precision}{on_gpu}{on_cpu}"


def _excluding_options(options: BackendOptions, field: str) -> BackendError:
    if options.gpus and options.threads is not None:
        problem = "a backend runs either on GPUs or on CPU threads"
        return BackendError(problem, "Choose one of them.", about=field)
    able = [factory for factory in backend_factories() if factory.is_gpu == bool(options.gpus)]
    precisions = dict.fromkeys(precision for factory in able for precision in factory.precisions)
    advice = f"Choose another precision: {', '.join(precisions)}."
    return BackendError(f"no backend {_wanted(options)}", advice, about=field)


def _reasons(refusals: Mapping[str, WmhError]) -> str:
    """Return why the backends are refused; those with the same reason together."""
    names_of: dict[str, list[str]] = {}
    for name, refusal in refusals.items():
        about = "" if refusal.about in (None, name) else f"{refusal.about}: "
        names_of.setdefault(f"{about}{refusal.problem}", []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in names_of.items())


def _remedy(options: BackendOptions, refusals: Mapping[str, WmhError]) -> str:
    for refusal in refusals.values():
        if not is_expected(refusal):
            return refusal.remedy
    *_, most_general = refusals.values()  # the slowest one; it runs every bundle
    steps = []
    if options.gpus:
        steps.append("give no GPU index")
    if options.precision == ENGINE_PRECISION:
        steps.append("choose precision fp32")
    if not steps:
        return most_general.remedy
    no_gpu = (refusal for refusal in refusals.values() if isinstance(refusal, NoGpuError))
    with_gpu = uncapitalize(next(no_gpu, most_general).remedy)
    return f"To run on the CPU, {' and '.join(steps)}. With an NVIDIA GPU, {with_gpu}"
