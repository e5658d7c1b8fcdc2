"""Select the backends and precisions to measure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wmh_runtime.backends.registry import CPU_BACKENDS
from wmh_runtime.inference.backend_selection import list_backends
from wmh_runtime.precision import Precision

CPU_BACKEND_NAMES = tuple(kind.name for kind in CPU_BACKENDS)


def select_backend_precisions(
    backends: Iterable[str], precisions: Sequence[Precision]
) -> list[tuple[str, Precision]]:
    """Return pairs of a backend and a precision that it has.

    Args:
        backends: names; empty: all backends.
        precisions: empty: all precisions.
    """
    names = set(backends)
    return [
        (name, precision)
        for name, available in list_backends()
        if not names or name in names
        for precision in available
        if not precisions or precision in precisions
    ]
