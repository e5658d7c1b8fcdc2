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
    """Choose slices that cover the head evenly and show as much lesion as they can.

    The slices that hold head or lesion are cut into as many even runs as may be shown. From each
    run comes the slice with the most lesion, or the nearest to the middle of the run where
    several have as much. The slice with the most lesion of all is therefore always shown.

    Args:
        head: (n, rows, cols).
        masks: (n, rows, cols), lesion.
        most: how many slices may be shown, at least 1.

    Returns:
        Slice indices in increasing order, at least one and at most `most`.
    """
    head_area = np.count_nonzero(head, axis=(1, 2))
    lesion_area = np.count_nonzero(masks, axis=(1, 2))
    held = (head_area >= HEAD_SLICE_FRACTION * head_area.max()) | (lesion_area > 0)
    first, last = _extent(held)
    edges = np.linspace(first, last, min(most, last - first) + 1).round().astype(int)
    return [_slice_of_run(*run, lesion_area) for run in pairwise(edges)]


def _slice_of_run(start: int, stop: int, lesion_area: NDArray[np.int_]) -> int:
    middle = (start + stop - 1) / 2
    best = min(range(start, stop), key=lambda index: (-lesion_area[index], abs(index - middle)))
    return int(best)


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
