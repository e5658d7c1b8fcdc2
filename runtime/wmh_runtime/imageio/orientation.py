"""Anatomical orientation: permute and flip voxel axes into display order, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Plane = Literal["axial", "coronal", "sagittal"]


# For each plane, where slices, rows and columns run to. Rows and columns are those of the
# radiological display: the patient's right on the viewer's left, anterior or superior on top.
DISPLAY_AXES: dict[Plane, tuple[str, str, str]] = {
    "axial": ("S", "P", "L"),
    "coronal": ("A", "I", "L"),
    "sagittal": ("L", "I", "P"),
}


_WORLD_AXIS_AND_SIGN = {
    "R": (0, 1),
    "L": (0, -1),
    "A": (1, 1),
    "P": (1, -1),
    "S": (2, 1),
    "I": (2, -1),
}


@dataclass(frozen=True)
class Reorientation:
    """Which volume axis each stack axis is, and which of them run backwards."""

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def apply(self, volume: NDArray[Any]) -> NDArray[Any]:
        """View a volume (x, y, z) as a stack (slices, rows, columns), without copying."""
        return self._flip(volume.transpose(self.axes))

    def undo(self, stack: NDArray[Any]) -> NDArray[Any]:
        """View a stack (slices, rows, columns) as a volume (x, y, z), without copying."""
        return self._flip(stack).transpose(np.argsort(self.axes))

    def _flip(self, stack: NDArray[Any]) -> NDArray[Any]:
        return stack[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]


def reorientation_to(plane: Plane, affine: NDArray[np.float64]) -> Reorientation:
    """Find the reorientation that puts a volume's voxels in a plane's display order.

    The slice axis is the voxel axis nearest to the plane's normal; the other two become rows and
    columns so that they lie nearest to theirs.

    Args:
        plane: which way to slice.
        affine: (4, 4), voxel index to RAS+ mm, invertible.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    # along[i, j]: how far voxel axis j runs along display axis i, a cosine.
    towards = [_WORLD_AXIS_AND_SIGN[code] for code in DISPLAY_AXES[plane]]
    along = np.array([sign * directions[axis] for axis, sign in towards])
    slices = int(np.argmax(abs(along[0])))
    first, second = (axis for axis in range(3) if axis != slices)
    straight = abs(along[1, first]) + abs(along[2, second])
    crossed = abs(along[1, second]) + abs(along[2, first])
    rows, columns = (first, second) if straight >= crossed else (second, first)
    return Reorientation(
        axes=(slices, rows, columns),
        flipped=(
            bool(along[0, slices] < 0),
            bool(along[1, rows] < 0),
            bool(along[2, columns] < 0),
        ),
    )
