"""What this machine computes with."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

import psutil

_CPU_INFO = Path("/proc/cpuinfo")
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")


def cpu_name() -> str:
    """Return the model of the processor, as far as the system tells it."""
    return cpu_info().get("model name") or platform.processor() or platform.machine()


def available_cores() -> int:
    """Return how many cores this process may use, which may be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_info() -> dict[str, str]:
    """Return what Linux says of the last processor, by name; empty elsewhere."""
    if not _CPU_INFO.exists():
        return {}
    lines = (line.partition(":") for line in _CPU_INFO.read_text(encoding="utf-8").splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def free_bytes() -> int:
    """Return the memory that this process may still take.

    That is what the machine has, or what a container or a cluster's job is limited to (Linux's
    control groups, version 2, each within its parent).
    """
    free = int(psutil.virtual_memory().available)
    for group in _own_groups():
        with suppress(OSError, ValueError):  # it has no limit: "max", or no such file
            limit = int((group / "memory.max").read_text(encoding="ascii"))
            used = int((group / "memory.current").read_text(encoding="ascii"))
            free = min(free, limit - used + _forgettable_bytes(group))
    return free


def _own_groups() -> list[Path]:
    """Return the control group of this process and those around it."""
    try:
        lines = _OWN_GROUP.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    group = _CONTROL_GROUPS / own
    return [group, *(parent for parent in group.parents if parent.is_relative_to(_CONTROL_GROUPS))]


def _forgettable_bytes(group: Path) -> int:
    """Return what of a group's memory only keeps files at hand."""
    lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    return int(dict(line.split() for line in lines).get("inactive_file", 0))
