"""What this machine computes with."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


def processor() -> str:
    """Return the model of the processor, as far as the system tells it."""
    return cpu_facts().get("model name") or platform.processor() or platform.machine()


def cores() -> int:
    """Return how many cores this process may use, which may be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_facts() -> dict[str, str]:
    """Return what Linux says of the last processor, by name; empty elsewhere."""
    if not _CPU_INFO.exists():
        return {}
    lines = (line.partition(":") for line in _CPU_INFO.read_text(encoding="utf-8").splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}
