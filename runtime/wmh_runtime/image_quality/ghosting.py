"""Ghosts of a moving or pulsating head in the air beside it.

What moves between the lines of k-space appears again along the phase-encoding axis, over the whole
width of the image. The corners of a slice, beside the head along no axis, show the noise only. So
the mean square of the air beside the head along one axis, minus that of the corners, is the energy
of the ghosts. The axis is not known: the larger result of both counts. The idea is that of the
ghost-to-signal ratio (Giannelli et al. 2010, doi 10.1120/jacmp.v11i4.3237), which MRIQC has, too.
"""

from __future__ import annotations

import math

import numpy as np

from wmh_runtime.image_quality.slices import Slices
from wmh_runtime.preprocessing.erosion import eroded
from wmh_runtime.types import Floats, Mask

_MARGIN_MM = 8.0  # from the head; closer, there is skin blurred by the point spread
_LEAST_VOXELS = 2000  # of each part of the air
_HIGHEST_EQUAL_SHARE = 0.2  # of the corners; more have one value if the air was cleared


def ghosting_percent(slices: Slices) -> float | None:
    """Return the root mean square of the ghosts in percent of white matter.

    None: there is not enough air, or it was removed.
    """
    level = slices.white_level
    if level is None:
        return None
    air = slices.measured & ~slices.head & _lines_of(_lines_of(slices.head, 1), 2)
    # Along an axis, the head is beside all pixels of the lines that it reaches.
    in_lines = {axis: _lines_of(slices.head, axis) for axis in (1, 2)}
    far = {
        axis: _far(in_lines[3 - axis], axis, _MARGIN_MM / slices.spacing_mm[axis])
        for axis in (1, 2)
    }
    corners = slices.stack[air & far[1] & far[2]]
    if corners.size < _LEAST_VOXELS or _is_cleared(corners):
        return None
    energies = [
        _energy(beside, level)
        for axis in (1, 2)
        if (beside := slices.stack[air & in_lines[axis] & far[axis]]).size >= _LEAST_VOXELS
    ]
    if not energies:
        return None
    return 100 * math.sqrt(max(0.0, max(energies) - _energy(corners, level)))


def _lines_of(head: Mask, axis: int) -> Mask:
    """Return the lines along an axis that show the head, with a length of 1 along it."""
    return np.expand_dims(head.any(axis=axis), axis)


def _far(lines: Mask, axis: int, margin: float) -> Mask:
    """Return the lines that are a margin away from those of the head.

    Args:
        lines: that show the head, with a length of 1 along the axis that they have.
        axis: across the lines.
        margin: in pixels.
    """
    width = math.ceil(margin)
    widths = [(0, 0)] * lines.ndim
    widths[axis] = (width, width)
    free = eroded(np.pad(~lines, widths, constant_values=True), axis, width)
    return free.take(range(width, width + lines.shape[axis]), axis)


def _energy(values: Floats, level: float) -> float:
    """Return the mean square relative to white matter; a bright object counts as white matter."""
    return float(np.mean(np.minimum((values / np.float32(level)) ** 2, 1), dtype=np.float64))


def _is_cleared(values: Floats) -> bool:
    _, counts = np.unique(values, return_counts=True)
    return bool(counts.max() > _HIGHEST_EQUAL_SHARE * values.size)
