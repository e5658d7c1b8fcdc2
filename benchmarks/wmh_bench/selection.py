"""Which backends and precisions are measured, and which of them execute on the processor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wmh_runtime.backends.registry import CPU_BACKENDS
from wmh_runtime.inference.backend_selection import list_backends
from wmh_runtime.precision import Precision

ON_PROCESSORS = tuple(kind.name for kind in CPU_BACKENDS)


def ways_of(
    backends: Iterable[str], precisions: Sequence[Precision]
) -> list[tuple[str, Precision]]:
    """Return backends with the precisions they have; none given: all."""
    wanted = set(backends)
    return [
        (name, precision)
        for name, of_backend in list_backends()
        if not wanted or name in wanted
        for precision in of_backend
        if not precisions or precision in precisions
    ]
