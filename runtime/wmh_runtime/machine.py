"""CPU and memory of this machine."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

import psutil

from wmh_runtime.control_groups import cpu_limit_cores, memory_left_bytes

_CPU_INFO = Path("/proc/cpuinfo")


def cpu_name() -> str:
    """Return the CPU model, as far as the system reports it."""
    return cpu_info().get("model name") or platform.processor() or platform.machine()


def available_cores() -> int:
    """Return the number of CPU cores that this process may use, at least 1.

    A container or a cluster job with a limit of 2.5 cores can use 3 of them at a time.
    """
    on_linux = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if on_linux else os.cpu_count() or 1
    return math.ceil(max(1.0, min(cores, cpu_limit_cores())))


def cpu_info() -> dict[str, str]:
    """Return the fields of /proc/cpuinfo for the last CPU. Empty on systems other than Linux."""
    if not _CPU_INFO.exists():
        return {}
    lines = (line.partition(":") for line in _CPU_INFO.read_text(encoding="utf-8").splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def free_bytes() -> int:
    """Return the memory in bytes that this process can still use.

    This is the free memory of the machine, or less in a container or a cluster job with a limit.
    """
    return int(min(psutil.virtual_memory().available, memory_left_bytes()))
