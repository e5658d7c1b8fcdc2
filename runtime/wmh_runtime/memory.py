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
_CONTAINER = Path("/sys/fs/cgroup")


def free_bytes() -> int:
    """Return the memory that this process may still take: of the machine, or of its container."""
    free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # no container, or one without a limit: "max"
        limit = int((_CONTAINER / "memory.max").read_text(encoding="ascii"))
        used = int((_CONTAINER / "memory.current").read_text(encoding="ascii"))
        free = min(free, limit - used + _forgettable_bytes())
    return free


def _forgettable_bytes() -> int:
    """Return what of a container's memory only keeps files at hand."""
    lines = (_CONTAINER / "memory.stat").read_text(encoding="ascii").splitlines()
    return int(dict(line.split() for line in lines)["inactive_file"])


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
