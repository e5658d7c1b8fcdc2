"""The peak memory of this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import psutil

_STATUS = Path("/proc/self/status")
_PEAK = "VmHWM:"


def peak_resident_bytes() -> int:
    """Return the peak resident memory of this process."""
    if sys.platform == "win32":
        memory: Any = psutil.Process().memory_info()
        return int(memory.peak_wset)
    if _STATUS.exists():  # Linux: ru_maxrss would include the parent process
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith(_PEAK):
                return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, else KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
