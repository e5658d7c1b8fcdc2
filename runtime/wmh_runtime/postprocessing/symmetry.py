"""The symmetry plane of a brain: which voxels are left, whatever way the head is turned.

The plane is the one in which the mirror image of the brain agrees best with the brain itself: the
most voxels meet a voxel of the same region. It is searched from the middle plane of the scanner,
in steps that become smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.types import Mask

_MAX_POINTS = 8000  # more would not move the plane
_STEPS = ((16.0, 8.0), (8.0, 8.0), (4.0, 4.0), (2.0, 2.0), (1.0, 1.0), (0.5, 0.5))  # degrees, mm
_DIRECTIONS = [np.array(step) for step in product((-1, 0, 1), repeat=3) if any(step)]
LEAST_AGREEMENT = 0.55  # 0.59 to 0.71 in 16 scans, 0.35 to 0.43 in halves of their brains
_MAX_DEGREES = 45.0
_GAIN = 1e-9  # smaller ones are rounding


@dataclass(frozen=True)
class SymmetryPlane:
    """A plane in the space of the patient."""

    normal: NDArray[np.float64]  # (3,), RAS, of length 1; points to the right of the patient
    offset_mm: float  # normal · point of every point of the plane
    agreement: float  # share of the brain whose mirror image is of the same region

    def is_left(self, box: Sequence[slice], affine: Affine) -> Mask:
        """Return the voxels of a box on the left of the patient, (x, y, z).

        Args:
            box: for each axis, the first voxel and the one after the last.
            affine: (4, 4), voxel index to RAS+ mm.
        """
        along = self.normal @ affine[:3, :3]  # mm to the right for each step along an axis
        x, y, z = (
            step * np.arange(one.start, one.stop) for step, one in zip(along, box, strict=True)
        )
        origin = self.normal @ affine[:3, 3] - self.offset_mm
        return np.asarray(x[:, None, None] + y[:, None] < -(z + origin))


def find_symmetry_plane(numbers: NDArray[np.uint8], affine: Affine) -> SymmetryPlane:
    """Find the plane between the left and the right half of a brain.

    Args:
        numbers: (x, y, z), the number of the region of each voxel of the brain, 0 outside; at
            least one is not 0. Both halves of a region have one number.
        affine: (4, 4), voxel index to RAS+ mm.
    """
    indices = np.flatnonzero(numbers)
    at_points = np.unravel_index(indices[:: -(-len(indices) // _MAX_POINTS)], numbers.shape)
    voxels, of_points = np.stack(at_points, axis=1), numbers[at_points]
    # Points anywhere within their voxels, compared with points anywhere around their mirror images:
    # otherwise thick slices that meet exactly would agree better than those of the true plane.
    within, around = np.random.default_rng(0).uniform(-0.5, 0.5, (2, *voxels.shape))
    points_mm = (voxels + within) @ affine[:3, :3].T + affine[:3, 3]
    center_mm = points_mm.mean(axis=0)
    to_voxel = np.linalg.inv(affine)
    last = np.array(numbers.shape) - 1

    def agreement(parameters: NDArray[np.float64]) -> float:
        yaw, roll, shift_mm = parameters
        if max(abs(yaw), abs(roll)) > _MAX_DEGREES:
            return -1.0
        normal = _normal(yaw, roll)
        distance = (points_mm - center_mm) @ normal - shift_mm
        mirrored = points_mm - 2 * distance[:, None] * normal
        at = np.rint(mirrored @ to_voxel[:3, :3].T + to_voxel[:3, 3] + around).astype(np.intp)
        inside = ((at >= 0) & (at <= last)).all(axis=1)
        there = numbers[tuple(np.clip(at, 0, last).T)]
        return float(np.mean(inside & (there == of_points)))

    (yaw, roll, shift_mm), highest = _climb(agreement, np.zeros(3))
    normal = _normal(yaw, roll)
    return SymmetryPlane(normal, float(normal @ center_mm + shift_mm), highest)


def _normal(yaw_degrees: float, roll_degrees: float) -> NDArray[np.float64]:
    """Return the direction to the right, turned about the vertical and the front-back axis."""
    yaw, roll = np.radians([yaw_degrees, roll_degrees])
    return np.array([np.cos(yaw) * np.cos(roll), np.sin(yaw) * np.cos(roll), np.sin(roll)])


def _climb(
    value_of: Callable[[NDArray[np.float64]], float], start: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Move to the best neighbor as long as the value rises, in smaller and smaller steps."""
    best, highest = start, value_of(start)
    for degrees, mm in _STEPS:
        while True:
            neighbors = [best + step * (degrees, degrees, mm) for step in _DIRECTIONS]
            values = [value_of(neighbor) for neighbor in neighbors]
            if max(values) <= highest + _GAIN:
                break
            highest = max(values)
            best = neighbors[values.index(highest)]
    return best, highest
