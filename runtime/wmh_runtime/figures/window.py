"""The window of a picture: the intensities that are drawn black and white.

The brain sets it, not the brightest tissue. Scalp fat can be three times as bright as the brain,
and would leave the brain dark; the brightest percent of a brain is lesion, and would be white
without any structure. In 11 scans with lesion masks the brightest lesions were 1.6 to 2.2 times as
bright as the median of the brain.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

BLACK_PERCENT = 1.0  # of the head's intensities
WHITE_TO_BRAIN = 2.1  # intensity of white to the median of the brain, both measured from black
BRAIN_BOX = ((0.5, 0.9), (0.25, 0.75), (0.25, 0.75))  # of the head's extent; mostly brain
EXTENT_FRACTION = 0.2  # of the largest slice (row, column) of the head; smaller ones do not count
ROBUST_RANGE_PERCENT = (1.0, 99.5)
MAX_SAMPLES = 1_000_000  # pixels for percentiles; more would not change them


@dataclass(frozen=True)
class Window:
    """Intensities drawn black (`low` and below) and white (`high` and above); low < high."""

    low: float
    high: float


def find_window(slices: NDArray[np.float32], head: NDArray[np.bool_]) -> Window:
    """Return the window in which normal brain is gray, and lesions are brighter but not white.

    If the brain has no contrast to the darkest voxels of the head, the window is the range of the
    head's intensities; if these are all equal, the range of head and air.

    Args:
        slices: (n, rows, cols), slice 0 is the most inferior.
        head: (n, rows, cols).
    """
    box = _brain_box(head)
    brain = _finite_sample(slices[box], head[box])
    if brain.size:
        low = float(np.percentile(_finite_sample(slices, head), BLACK_PERCENT))
        above_low = float(np.median(brain)) - low
        if above_low > 0:
            return Window(low, low + WHITE_TO_BRAIN * above_low)
    for inside in (head, np.ones_like(head)):
        low, high = _robust_range(_finite_sample(slices, inside))
        if high > low:
            return Window(low, high)
    return Window(low, low + 1.0)


def _brain_box(head: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the upper middle part of the head; empty if there is no head."""
    box = []
    for axis, (start, stop) in enumerate(BRAIN_BOX):
        areas = np.count_nonzero(head, axis=tuple({0, 1, 2} - {axis}))
        inside = np.flatnonzero(areas > EXTENT_FRACTION * areas.max(initial=0))
        if not len(inside):
            return (slice(0, 0),) * 3
        first, length = int(inside[0]), int(inside[-1] - inside[0]) + 1
        box.append(slice(first + int(start * length), first + ceil(stop * length)))
    return tuple(box)


def _finite_sample(slices: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return finite intensities of voxels, at most about `MAX_SAMPLES`, evenly chosen."""
    step = ceil(np.count_nonzero(inside) / MAX_SAMPLES) or 1
    samples, passed = [np.zeros(0, np.float32)], 0
    for image, here in zip(slices, inside, strict=True):  # a copy of all would take much memory
        intensities = image[here]
        samples.append(intensities[-passed % step :: step])
        passed += intensities.size
    sample = np.concatenate(samples)
    return sample[np.isfinite(sample)]


def _robust_range(sample: NDArray[np.float32]) -> tuple[float, float]:
    """Return the percentiles `ROBUST_RANGE_PERCENT` of intensities; (0, 0) if there are none."""
    if sample.size == 0:
        return 0.0, 0.0
    low, high = np.percentile(sample, ROBUST_RANGE_PERCENT)
    return float(low), float(high)
