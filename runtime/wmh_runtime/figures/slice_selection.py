"""What of a scan a picture shows: which slices, which part of them, which range of intensities.

Words used here:
    pick        a slice that is shown
    frame       the part of every slice that is shown: the head, the lesions and a margin
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
HEAD_SLICE_FRACTION = 0.2  # of the area of the largest slice of the head
HEAD_LINE_FRACTION = 0.03  # of the longest row (or column) of the head; less is noise
LESION_FRACTION = 0.75  # of the places; more where slices without lesion leave some
MARGIN_FRACTION = 0.04  # of the height (or width) of what is framed, on each side
MAX_SAMPLES = 4_000_000  # pixels from which percentiles are taken; more would not change them

PixelT = TypeVar("PixelT", bound=np.generic)


@dataclass(frozen=True)
class Window:
    """Intensities drawn black (`low` and below) and white (`high` and above); low < high."""

    low: float
    high: float


@dataclass(frozen=True)
class Frame:
    """The part of every slice that is shown, as half-open pixel ranges.

    A frame may reach beyond the slice by its margin; what lies there is drawn as air.
    """

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the frame in pixels of the slice."""
        return self.bottom - self.top, self.right - self.left

    def cut(self, image: NDArray[PixelT], fill: float) -> NDArray[PixelT]:
        """Return the framed part of an image (rows, cols), with `fill` beyond its edges."""
        rows, columns = image.shape
        above, before = max(0, -self.top), max(0, -self.left)
        below, after = max(0, self.bottom - rows), max(0, self.right - columns)
        inside = image[max(0, self.top) : self.bottom, max(0, self.left) : self.right]
        return np.pad(inside, ((above, below), (before, after)), constant_values=fill)


def find_window(slices: NDArray[np.float32], head: NDArray[np.bool_]) -> Window:
    """The window of the head's contrast, or of head against air where the head is uniform."""
    for intensities in (slices[head], slices):
        low, high = _robust_range(intensities)
        if high > low:
            return Window(low, high)
    return Window(low, low + 1.0)


def pick_slices(head: NDArray[np.bool_], masks: NDArray[np.bool_], most: int) -> list[int]:
    """Choose slices that show as much lesion as they can, and keep some of the head without.

    Slices with lesion may take most of the places, the others are kept for slices of the head
    without; what one side does not need goes to the other. Where there are more slices than
    places, they are cut into even runs, and from each comes the one with the most lesion, or the
    nearest to the middle. The slice with the most lesion of all is therefore always shown.

    Args:
        head: (n, rows, cols).
        masks: (n, rows, cols), lesion.
        most: how many slices may be shown, at least 1.

    Returns:
        Slice indices in increasing order, at least one and at most `most`.
    """
    head_area = np.count_nonzero(head, axis=(1, 2))
    lesion_area = np.count_nonzero(masks, axis=(1, 2))
    large = head_area >= HEAD_SLICE_FRACTION * head_area.max()
    with_lesion = np.flatnonzero(lesion_area > 0)
    without = np.flatnonzero(large & (lesion_area == 0))
    places = min(len(with_lesion), max(ceil(LESION_FRACTION * most), most - len(without)))
    picks = _one_of_each_run(with_lesion, places, lesion_area)
    return sorted(picks + _one_of_each_run(without, most - places, lesion_area))


def _one_of_each_run(
    candidates: NDArray[np.int_], runs: int, lesion_area: NDArray[np.int_]
) -> list[int]:
    edges = np.linspace(0, len(candidates), min(runs, len(candidates)) + 1).round().astype(int)
    picks = []
    for start, stop in pairwise(edges):
        run = candidates[start:stop].tolist()
        middle = (run[0] + run[-1]) / 2
        picks.append(min(run, key=lambda index: (-lesion_area[index], abs(index - middle))))
    return picks


def find_frame(head: NDArray[np.bool_], masks: NDArray[np.bool_]) -> Frame:
    """The frame that holds the head and every lesion, with a margin around them."""
    top, bottom = _framed_range(head, masks, axis=1)
    left, right = _framed_range(head, masks, axis=2)
    return Frame(top, bottom, left, right)


def _framed_range(head: NDArray[np.bool_], masks: NDArray[np.bool_], axis: int) -> tuple[int, int]:
    """The frame's half-open range along one axis of the stacks (n, rows, cols)."""
    others = (0, 3 - axis)
    head_counts = np.count_nonzero(head, axis=others)
    lesion_counts = np.count_nonzero(masks, axis=others)
    held = (head_counts >= HEAD_LINE_FRACTION * head_counts.max()) | (lesion_counts > 0)
    first, last = _extent(held)
    margin = ceil(MARGIN_FRACTION * (last - first))
    return first - margin, last + margin


def _extent(held: NDArray[np.bool_]) -> tuple[int, int]:
    """Half-open range from the first to the last true value."""
    places = np.flatnonzero(held)
    return int(places[0]), int(places[-1]) + 1


def _robust_range(intensities: NDArray[np.float32]) -> tuple[float, float]:
    """Robust darkest and brightest finite intensity, (0, 0) where there is none."""
    step = ceil(intensities.size / MAX_SAMPLES) or 1
    sample = intensities[..., ::step]
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return 0.0, 0.0
    low, high = np.percentile(sample, ROBUST_RANGE_PERCENT)
    return float(low), float(high)
