"""Neighboring slices as further channels, so that a network of slices sees along the third axis."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Number = TypeVar("_Number", bound=np.floating)


def with_neighbors(
    slices: NDArray[_Number], indices: NDArray[np.intp], context: int, distance: int = 1
) -> NDArray[_Number]:
    """Return some slices of a scan, each with its neighbors as further channels.

    Beyond the first and the last slice, these are repeated.

    Args:
        slices: (n, C, S, S), all slices with head of one scan, in order.
        indices: (m,), from 0 to n − 1; m may be 0.
        context: neighbors on each side.
        distance: from a slice to the next neighbor, in slices.

    Returns:
        (m, C · (1 + 2 · context), S, S): for each channel, from the lowest neighbor to the highest.
    """
    offsets = distance * np.arange(-context, context + 1)
    neighbors = slices[np.clip(indices[:, None] + offsets, 0, len(slices) - 1)]
    channels = slices.shape[1] * len(offsets)
    return neighbors.swapaxes(1, 2).reshape(len(indices), channels, *slices.shape[2:])
