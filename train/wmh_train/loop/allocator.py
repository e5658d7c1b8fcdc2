"""Keep freed memory in the process, on CPUs with Linux.

By default, glibc returns large freed blocks to the system, and the system must clear them for the
next training step. Training steps are faster if glibc keeps them: see benchmarks/README.md.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_LARGEST_BYTES = 1 << 30
_NEVER = -1


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory. With other C libraries, do nothing."""
    with suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
