"""The frame of a picture: the shown part of every slice, with head, lesions and a margin."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

HEAD_LINE_FRACTION = 0.03  # relative to the longest row (or column) of the head; less is noise
MARGIN_FRACTION = 0.04  # of the height (or width) of the frame, on each side

PixelT = TypeVar("PixelT", bound=np.generic)


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
