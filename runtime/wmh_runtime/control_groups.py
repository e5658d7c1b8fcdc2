"""Limits of containers and cluster jobs on Linux: control groups, versions 1 and 2.

A process belongs to a group, and the limits of all parent groups hold too. On other systems there
are no groups, and so no limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_OWN_GROUPS = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")


def cpu_limit_cores() -> float:
    """Return how many cores this process may use on average, infinite without a limit."""
    return min(map(_cpu_limit_cores, _groups("cpu")), default=math.inf)


def memory_left_bytes() -> float:
    """Return the memory that is left within the limits, infinite without a limit."""
    return min(map(_memory_left_bytes, _groups("memory")), default=math.inf)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the groups of this process that may limit a resource, with all parents."""
    try:
        lines = _OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2: one tree for all resources
            root = _ROOT
        elif controller in controllers.split(","):  # version 1
            root = next(filter(Path.is_dir, (_ROOT / controllers, _ROOT / controller)), _ROOT)
        else:
            continue
        group = root / path.lstrip("/")
        yield from (one for one in (group, *group.parents) if one.is_relative_to(root))


def _cpu_limit_cores(group: Path) -> float:
    """Return the share of time in cores: a quota in each period, both in microseconds."""
    with suppress(OSError, ValueError):  # without a limit, the file says "max" or does not exist
        quota, period = map(int, _read(group, "cpu.max").split())
        return quota / period
    with suppress(OSError, ValueError):
        quota = int(_read(group, "cpu.cfs_quota_us"))
        return quota / int(_read(group, "cpu.cfs_period_us")) if quota > 0 else math.inf
    return math.inf


def _memory_left_bytes(group: Path) -> float:
    for limit, used, reclaimable in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):
            statistics = dict(line.split() for line in _read(group, "memory.stat").splitlines())
            # Cached files are counted as used, and given up when memory is needed.
            cached = int(statistics.get(reclaimable, 0))
            return int(_read(group, limit)) - int(_read(group, used)) + cached
    return math.inf


def _read(group: Path, name: str) -> str:
    return (group / name).read_text(encoding="ascii")
