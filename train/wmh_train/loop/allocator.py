"""Keep freed memory for the next step, on CPUs of Linux.

glibc gives large freed blocks back to the system, which has to clear them again when the next
training step asks for as much. Told to keep them, steps were faster: see benchmarks/README.md.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_LARGEST_BYTES = 1 << 30
_NEVER = -1


def keep_freed_memory() -> None:
    """Ask the C library to keep what is freed; other libraries than glibc are left alone."""
    with suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
