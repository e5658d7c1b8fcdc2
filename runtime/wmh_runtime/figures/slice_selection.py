"""Select the slices, the field of view and the intensity window of a picture.

Terms:
    frame       the shown part of every slice: the head, the lesions and a margin
    window      the intensities that are drawn black and white
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

ROBUST_RANGE_PERCENT = (1.0, 99.5)
HEAD_SLICE_FRACTION = 0.2  # relative to the largest head area of all slices
HEAD_LINE_FRACTION = 0.03  # relative to the longest row (or column) of the head; less is noise
LESION_FRACTION = 0.75  # of the shown slices; more if there are too few slices without lesions
MARGIN_FRACTION = 0.04  # of the height (or width) of the frame, on each side
MAX_SAMPLES = 4_000_000  # pixels for percentiles; more would not change them

PixelT = TypeVar("PixelT", bound=np.generic)


@dataclass(frozen=True)
class Window:
    """Intensities drawn black (`low` and below) and white (`high` and above); low < high."""

    low: float
    high: float


@dataclass(frozen=True)
class Frame:
    """The shown part of every slice, as half-open pixel ranges.

    The margin of a frame may be outside the slice; it is drawn as air.
    """

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Size of the frame, (rows, columns), in pixels of the slice."""
        return self.bottom - self.top, self.right - self.left

    def crop(self, image: NDArray[PixelT], fill: float) -> NDArray[PixelT]:
        """Return the part of an image (rows, cols) in the frame, with `fill` outside the image."""
        rows, columns = image.shape
        above, before = max(0, -self.top), max(0, -self.left)
        below, after = max(0, self.bottom - rows), max(0, self.right - columns)
        inside = image[max(0, self.top) : self.bottom, max(0, self.left) : self.right]
        return np.pad(inside, ((above, below), (before, after)), constant_values=fill)


def find_window(slices: NDArray[np.float32], head: NDArray[np.bool_]) -> Window:
    """Return the window of the head; if the head has a single intensity, of head and air."""
    for intensities in (slices[head], slices):
        low, high = _robust_range(intensities)
        if high > low:
            return Window(low, high)
    return Window(low, low + 1.0)


def select_slices(head: NDArray[np.bool_], masks: NDArray[np.bool_], max_count: int) -> list[int]:
    """Select slices that show the lesions, and some slices without lesions.

    At least `LESION_FRACTION` of the slots are for slices with lesions, the others for slices of
    the head without lesions. If one group does not need all its slots, the other group gets them.
    A group with more slices than slots is divided into runs of about equal length. Of each run,
    the slice with the largest lesion area is selected; if there are several, the one closest to
    the middle. So the slice with the largest lesion area of all is always shown.

    Args:
        head: (n, rows, cols).
        masks: (n, rows, cols), lesions.
        max_count: maximum number of slices, at least 1.

    Returns:
        Slice indices in increasing order, at least one and at most `max_count`.
    """
    head_area = np.count_nonzero(head, axis=(1, 2))
    lesion_area = np.count_nonzero(masks, axis=(1, 2))
    large = head_area >= HEAD_SLICE_FRACTION * head_area.max()
    with_lesion = np.flatnonzero(lesion_area > 0)
    without = np.flatnonzero(large & (lesion_area == 0))
    slots = min(len(with_lesion), max(ceil(LESION_FRACTION * max_count), max_count - len(without)))
    selected = _one_per_run(with_lesion, slots, lesion_area)
    return sorted(selected + _one_per_run(without, max_count - slots, lesion_area))


def _one_per_run(
    candidates: NDArray[np.int_], runs: int, lesion_area: NDArray[np.int_]
) -> list[int]:
    edges = np.linspace(0, len(candidates), min(runs, len(candidates)) + 1).round().astype(int)
    selected = []
    for start, stop in pairwise(edges):
        run = candidates[start:stop].tolist()
        middle = (run[0] + run[-1]) / 2
        selected.append(min(run, key=lambda index: (-lesion_area[index], abs(index - middle))))
    return selected


def find_frame(head: NDArray[np.bool_], masks: NDArray[np.bool_]) -> Frame:
    """Return the frame around the head and all lesions, with a margin."""
    top, bottom = _framed_range(head, masks, axis=1)
    left, right = _framed_range(head, masks, axis=2)
    return Frame(top, bottom, left, right)


def _framed_range(head: NDArray[np.bool_], masks: NDArray[np.bool_], axis: int) -> tuple[int, int]:
    """Return the half-open range of the frame along one axis of the stacks (n, rows, cols)."""
    others = (0, 3 - axis)
    head_counts = np.count_nonzero(head, axis=others)
    lesion_counts = np.count_nonzero(masks, axis=others)
    is_inside = (head_counts >= HEAD_LINE_FRACTION * head_counts.max()) | (lesion_counts > 0)
    first, last = _extent(is_inside)
    margin = ceil(MARGIN_FRACTION * (last - first))
    return first - margin, last + margin


def _extent(values: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the half-open range from the first to the last true value."""
    indices = np.flatnonzero(values)
    return int(indices[0]), int(indices[-1]) + 1


def _robust_range(intensities: NDArray[np.float32]) -> tuple[float, float]:
    """Return the percentiles `ROBUST_RANGE_PERCENT` of the finite intensities; (0, 0) if none."""
    step = ceil(intensities.size / MAX_SAMPLES) or 1
    sample = intensities[..., ::step]
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return 0.0, 0.0
    low, high = np.percentile(sample, ROBUST_RANGE_PERCENT)
    return float(low), float(high)
