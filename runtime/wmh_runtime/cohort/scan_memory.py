"""Memory: how much is free, and how much a scan takes on its way."""

from __future__ import annotations

import math

from wmh_runtime.imageio.nifti_header import Affine, Shape
from wmh_runtime.imageio.orientation import reorientation_to
from wmh_runtime.preprocessing.preprocess import Preprocessing
from wmh_runtime.types import NetworkShape

_FLOAT_BYTES = 4
# A fifth more than what was measured from reading to writing, see benchmarks/README.md.
_COPIES_OF_SQUARES = 1.2  # of what goes into the network and of what comes out
_COPIES_OF_VOXELS = 8.0


def format_gb(count: int) -> str:
    """Write a number of bytes in GB (10⁹), to two digits where it is less than ten."""
    return f"{count / 1e9:.2g}" if count < 10e9 else f"{count / 1e9:.0f}"


def estimate_scan_bytes(
    shape: Shape, affine: Affine, preprocessing: Preprocessing, network: NetworkShape
) -> int:
    """Estimate what a scan takes from being read to being written.

    Args:
        shape: voxels along each axis.
        affine: of the scan, (4, 4).
        preprocessing: of the bundle.
        network: C, K and S.
    """
    slices = shape[reorientation_to(preprocessing.plane, affine).axes[0]]
    squares = slices * network.size_px**2 * (network.channels + network.outputs)
    voxels = math.prod(shape) * max(network.channels, network.outputs)
    return int(_FLOAT_BYTES * (_COPIES_OF_SQUARES * squares + _COPIES_OF_VOXELS * voxels))
