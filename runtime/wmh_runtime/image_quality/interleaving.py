"""Differences between even and odd slices.

Two-dimensional scans acquire every second slice first, and then the others. If the head moves in
between, or if slices are excited too soon after their neighbors, every second slice differs from
the mean of its neighbors, in alternating directions. Anatomy has no such pattern, so the median of
the differences with alternating signs is near 0 without artifact.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.image_quality.slices import Slices
from wmh_runtime.types import Mask

_LEAST_SLICES = 7  # five differences; the median of fewer says little
_LEAST_AREA = 0.3  # of the largest section; above the neck and below the top of the head
_LEAST_WHITE = 200  # voxels in a slice


def slice_motion_mm(slices: Slices) -> float | None:
    """Return the distance within the slices between the heads in even and odd slices.

    The position of the head is the mean position of its voxels, whatever their intensity. A
    rotation about this position is not seen. None: there are too few slices.
    """
    is_known = slices.brain.any()
    areas = np.count_nonzero(slices.brain if is_known else slices.head, axis=(1, 2))
    large = np.flatnonzero(areas > _LEAST_AREA * areas.max(initial=0))
    if large.size == 0:
        return None
    head = slices.head[large[0] : large[-1] + 1]
    moves = [_alternation(_positions(head, axis) * slices.spacing_mm[axis]) for axis in (1, 2)]
    return None if None in moves else math.hypot(*(one for one in moves if one is not None))


def slice_brightness_percent(slices: Slices) -> float | None:
    """Return the difference between even and odd slices in percent of white matter.

    None: white matter is not known, or there are too few slices.
    """
    if slices.white_level is None:
        return None
    levels = np.full(len(slices.stack), np.nan)
    for index, (values, white) in enumerate(zip(slices.stack, slices.white, strict=True)):
        if np.count_nonzero(white) >= _LEAST_WHITE:
            levels[index] = np.median(values[white])
    found = _alternation(levels)
    return None if found is None else 100 * found / slices.white_level


def _positions(head: Mask, axis: int) -> NDArray[np.float64]:
    """Return the mean index of the head in each slice along an axis; NaN without head."""
    profile = np.count_nonzero(head, axis=3 - axis)  # (slices, size of the axis)
    voxels = profile.sum(axis=1)
    totals = profile @ np.arange(profile.shape[1], dtype=np.float64)
    return np.where(voxels > 0, totals / np.maximum(voxels, 1), np.nan)


def _alternation(series: NDArray[np.float64]) -> float | None:
    """Return how far every second value is from the mean of its neighbors, in one direction."""
    if len(series) < _LEAST_SLICES:
        return None
    differences = series[1:-1] - (series[:-2] + series[2:]) / 2
    differences[1::2] *= -1
    known = differences[~np.isnan(differences)]
    return abs(float(np.median(known))) if len(known) >= _LEAST_SLICES - 2 else None
