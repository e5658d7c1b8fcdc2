"""Select the backend that runs a bundle on this machine: by name, or the fastest that can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.conformance.acceptance import check_acceptance
from wmh_runtime.errors import BackendError, BundleError, InputError, WmhError
from wmh_runtime.inference.backend_factory import (
    BackendFactory,
    BackendOptions,
    backend_factories,
)
from wmh_runtime.inference.refusals import is_expected, no_backend_error
from wmh_runtime.precision import Precision
from wmh_runtime.tta import Views

AUTO = "auto"


@dataclass(frozen=True)
class OpenBackends:
    """The open backends of a run."""

    backends: Sequence[Backend]  # one for each device, all alike
    compared: Parity | None  # with the reference outputs; None: an earlier run has done so
    rejected: Sequence[str]  # by `auto`: installed backends that would be faster, with the reason

    def __str__(self) -> str:
        backend = self.backends[0]
        several = f"{len(self.backends)} × " if len(self.backends) > 1 else ""
        return f"{several}{backend.description} in {backend.precision}"


def parse_backend(name: str) -> str:
    """Return the name of a backend, or `auto`; upper and lower case are the same.

    Raises:
        InputError: there is no such backend.
    """
    known = [AUTO, *(factory.name for factory in backend_factories())]
    if name.lower() not in known:
        advice = f"Choose from: {', '.join(known)}."
        raise InputError(f"there is no backend {name}", advice, about="backend")
    return name.lower()


def list_backends() -> list[tuple[str, tuple[Precision, ...]]]:
    """Return the names of all backends with their precisions, the fastest first."""
    return [(factory.name, factory.precisions) for factory in backend_factories()]


def build_unverified(bundle: Bundle, name: str, options: BackendOptions) -> Sequence[Backend]:
    """Build a backend that is neither open nor compared with the reference outputs.

    For measuring only. For masks, use `open_backends`.

    Args:
        bundle: open.
        name: of a backend, not `auto`.
        options: what is asked of it.

    Returns:
        One backend for each device.

    Raises:
        InputError: there is no such backend, or an option does not fit it.
        BackendError: it is not installed, or cannot be used here.
        BundleError: the bundle has no graph or engine for it.
    """
    factory = _factory(name, options)
    return [built.backend for built in factory.build(bundle, options)]


@contextmanager
def open_backends(bundle: Bundle, name: str, options: BackendOptions) -> Iterator[OpenBackends]:
    """Open a backend, and compare it with the reference outputs at its first use on this machine.

    Args:
        bundle: open.
        name: of a backend, or `auto`: the fastest one that is installed, has the precision and
            agrees with the reference outputs. Precision and views are never chosen.
        options: what is asked of it.

    Raises:
        InputError: there is no such backend, or an option does not fit it.
        BackendError: it is not installed, cannot be used here, or its output differs from the
            reference outputs.
        BundleError: the bundle has no graph or engine for it.
    """
    name = parse_backend(name)
    with ExitStack() as stack:
        if name == AUTO:
            yield _open_fastest(bundle, options, stack)
        else:
            yield _open(bundle, _factory(name, options), options, stack)


def _factory(name: str, options: BackendOptions) -> BackendFactory:
    """Return the backend that the user named, if it is installed and fits the options."""
    name = parse_backend(name)
    (factory,) = (factory for factory in backend_factories() if factory.name == name)
    factory.require_installed()
    factory.require_compatible(options)
    return factory


def _open_fastest(bundle: Bundle, options: BackendOptions, stack: ExitStack) -> OpenBackends:
    """Open the first backend that fits the options and can be used."""
    refusals: dict[str, WmhError] = {}
    for factory in backend_factories():
        if not factory.is_automatic:
            continue
        try:
            factory.require_compatible(options)
        except (BackendError, InputError):
            continue
        with ExitStack() as attempt:
            try:
                opened = _open(bundle, factory, options, attempt, _surprising(refusals))
            except (BackendError, BundleError, InputError) as error:
                refusals[factory.name] = error
                continue
            stack.push(attempt.pop_all())
            return opened
    raise no_backend_error(options, refusals)


def _surprising(refusals: Mapping[str, WmhError]) -> list[str]:
    """Report backends that are installed and have their GPU, but cannot be used."""
    return [
        f"{name} is not used: {error}" for name, error in refusals.items() if not is_expected(error)
    ]


def _open(
    bundle: Bundle,
    factory: BackendFactory,
    options: BackendOptions,
    stack: ExitStack,
    rejected: Sequence[str] = (),
) -> OpenBackends:
    views: Views = options.views
    compared = None
    all_built = factory.build(bundle, options)
    for built in all_built:
        stack.enter_context(built.backend)
        compared = check_acceptance(bundle, built.backend, built.file, views) or compared
    return OpenBackends([built.backend for built in all_built], compared, rejected)
