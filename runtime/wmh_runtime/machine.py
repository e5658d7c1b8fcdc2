"""CPU and memory of this machine."""

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
    """Return the CPU model, as far as the system reports it."""
    return cpu_info().get("model name") or platform.processor() or platform.machine()


def available_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_info() -> dict[str, str]:
    """Return the fields of /proc/cpuinfo for the last CPU. Empty on systems other than Linux."""
    if not _CPU_INFO.exists():
        return {}
    lines = (line.partition(":") for line in _CPU_INFO.read_text(encoding="utf-8").splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def free_bytes() -> int:
    """Return the memory in bytes that this process can still use.

    This is the free memory of the machine, or less if a container or a cluster job has a limit
    (Linux control groups version 2, including all parent groups).
    """
    free = int(psutil.virtual_memory().available)
    for group in _own_groups():
        with suppress(OSError, ValueError):  # no limit: the file says "max" or does not exist
            limit = int((group / "memory.max").read_text(encoding="ascii"))
            used = int((group / "memory.current").read_text(encoding="ascii"))
            free = min(free, limit - used + _reclaimable_bytes(group))
    return free


def _own_groups() -> list[Path]:
    """Return the control group of this process and all parent groups."""
    try:
        lines = _OWN_GROUP.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    group = _CONTROL_GROUPS / own
    return [group, *(parent for parent in group.parents if parent.is_relative_to(_CONTROL_GROUPS))]


def _reclaimable_bytes(group: Path) -> int:
    """Return the memory of a group that holds cached files only. Linux frees it when needed."""
    lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    return int(dict(line.split() for line in lines).get("inactive_file", 0))
