"""Neighboring slices as further channels, so that a network of slices sees along the third axis."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Number = TypeVar("_Number", bound=np.floating)


def with_neighbors(
    slices: NDArray[_Number],
    indices: NDArray[np.intp],
    context: int,
    distance: int = 1,
    out: NDArray[_Number] | None = None,
) -> NDArray[_Number]:
    """Return some slices of a scan, each with its neighbors as further channels.

    Beyond the first and the last slice, these are repeated.

    Args:
        slices: (n, C, S, S), all slices with head of one scan, in order.
        indices: (m,), from 0 to n − 1; m may be 0.
        context: neighbors on each side.
        distance: from a slice to the next neighbor, in slices.
        out: is filled and returned; contiguous, with the shape of the result. None: a new array.

    Returns:
        (m, C · (1 + 2 · context), S, S): for each channel, from the lowest neighbor to the highest.
    """
    offsets = distance * np.arange(-context, context + 1)
    channels, *size = slices.shape[1:]
    if out is None:
        out = np.empty((len(indices), channels * len(offsets), *size), slices.dtype)
    by_offset = out.reshape(len(indices), channels, len(offsets), *size)  # a view
    for place, offset in enumerate(offsets):  # all at once would take twice the memory
        by_offset[:, :, place] = slices[np.clip(indices + offset, 0, len(slices) - 1)]
    return out
