"""Anatomical orientation: permute and flip voxel axes to a stack of axial slices, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_Value = TypeVar("_Value")

# From RAS+ mm to the LPS mm of DICOM and ITK, and back: it is its own inverse.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

# The directions in which slices, rows and columns increase: superior, posterior, left; each as an
# axis of RAS+ and a sign. This is the radiological convention: the patient's right on the viewer's
# left, anterior on top.
_AXIAL_AXES = ((2, 1), (1, -1), (0, -1))


@dataclass(frozen=True)
class Reorientation:
    """A permutation and flips of axes: from a volume to a stack of slices, and back."""

    axes: tuple[int, int, int]  # volume axis of slices, rows and columns
    flipped: tuple[bool, bool, bool]  # True: the stack axis runs backwards

    def apply(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Return a view of a volume (x, y, z) as a stack (slices, rows, columns)."""
        return self._flip(volume.transpose(self.axes))

    def undo(self, stack: NDArray[Any]) -> NDArray[Any]:
        """Return a view of a stack (slices, rows, columns) as a volume (x, y, z)."""
        return self._flip(stack).transpose(np.argsort(self.axes))

    def order(self, by_voxel_axis: Sequence[_Value]) -> tuple[_Value, _Value, _Value]:
        """Return values that belong to the voxel axes, such as lengths, by axis of the stack."""
        first, second, third = (by_voxel_axis[axis] for axis in self.axes)
        return first, second, third

    def then(self, other: Reorientation) -> Reorientation:
        """Return this reorientation followed by another one of its stack."""
        first, second, third = (
            (self.axes[axis], self.flipped[axis] != flip)
            for axis, flip in zip(other.axes, other.flipped, strict=True)
        )
        return Reorientation(
            axes=(first[0], second[0], third[0]), flipped=(first[1], second[1], third[1])
        )

    def _flip(self, stack: NDArray[Any]) -> NDArray[Any]:
        return stack[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]


def axial_reorientation(affine: NDArray[np.float64]) -> Reorientation:
    """Find the reorientation from voxel axes to axial slices in radiological convention.

    The slice axis is the voxel axis closest to inferior–superior. Of the other two axes,
    rows and columns are assigned so that both are as close as possible to their directions.

    Args:
        affine: (4, 4), voxel index to RAS+ mm, invertible.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    # cosines[i, j]: cosine of the angle between axis i of the stack and voxel axis j.
    cosines = np.array([sign * directions[axis] for axis, sign in _AXIAL_AXES])
    slices = int(np.argmax(abs(cosines[0])))
    first, second = (axis for axis in range(3) if axis != slices)
    in_order = abs(cosines[1, first]) + abs(cosines[2, second])
    swapped = abs(cosines[1, second]) + abs(cosines[2, first])
    rows, columns = (first, second) if in_order >= swapped else (second, first)
    return Reorientation(
        axes=(slices, rows, columns),
        flipped=(
            bool(cosines[0, slices] < 0),
            bool(cosines[1, rows] < 0),
            bool(cosines[2, columns] < 0),
        ),
    )
