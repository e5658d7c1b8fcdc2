"""The most memory that this process ever held."""

from __future__ import annotations

import sys
from typing import Any

import psutil


def peak_resident_bytes() -> int:
    """Return the peak of resident memory."""
    if sys.platform == "win32":
        memory: Any = psutil.Process().memory_info()
        return int(memory.peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss: bytes there, else KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
