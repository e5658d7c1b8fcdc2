"""Memory: how much is free, and how much a scan takes on its way."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import psutil

from wmh_runtime.geometry import reorientation_to
from wmh_runtime.nifti import Affine, Shape
from wmh_runtime.prepare import Preparation
from wmh_runtime.types import NetworkShape

_FLOAT_BYTES = 4
# A fifth more than what was measured from reading to writing, see benchmarks/README.md.
_COPIES_OF_SQUARES = 1.2  # of what goes into the network and of what comes out
_COPIES_OF_VOXELS = 8.0
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")


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


def in_gb(count: int) -> str:
    """Write a number of bytes in GB (10⁹), to two digits where it is less than ten."""
    return f"{count / 1e9:.2g}" if count < 10e9 else f"{count / 1e9:.0f}"


def bytes_of_scan(
    shape: Shape, affine: Affine, preparation: Preparation, network: NetworkShape
) -> int:
    """Estimate what a scan takes from being read to being written.

    Args:
        shape: voxels along each axis.
        affine: of the scan, (4, 4).
        preparation: of the bundle.
        network: C, K and S.
    """
    slices = shape[reorientation_to(preparation.plane, affine).axes[0]]
    squares = slices * network.size_px**2 * (network.channels + network.outputs)
    voxels = math.prod(shape) * max(network.channels, network.outputs)
    return int(_FLOAT_BYTES * (_COPIES_OF_SQUARES * squares + _COPIES_OF_VOXELS * voxels))
