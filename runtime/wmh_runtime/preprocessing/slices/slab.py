"""Thin slices, averaged with their neighbors: less noise, and the look of a thicker slice."""

from __future__ import annotations

import numpy as np

from wmh_runtime.types import Floats


def average_thin_slices(slices: Floats, distance_mm: float, slab_mm: float) -> Floats:
    """Average each slice with those around it, in a window `slab_mm` thick.

    The number of slices stays. A slice that the window covers in part has a part of the weight.
    Beyond the first and the last slice, there is nothing to average. Slices as thick as the window
    stay as they are.

    Args:
        slices: (n, C, S, S), in order.
        distance_mm: from a slice to the next.
        slab_mm: thickness of the window; 0: the slices stay as they are.

    Returns:
        float32 (n, C, S, S), in the range of `slices`.
    """
    if slab_mm <= distance_mm:
        return slices
    half = slab_mm / distance_mm / 2  # in slices
    index = np.arange(len(slices))
    weights = np.clip(half + 0.5 - abs(index[:, None] - index), 0, 1)
    weights /= weights.sum(axis=1, keepdims=True)
    averaged = np.empty_like(slices)
    for row, slab in zip(weights, averaged, strict=True):
        window = np.flatnonzero(row)
        np.einsum("k,kcij->cij", row[window].astype(np.float32), slices[window], out=slab)
    return averaged


def slab_distance(distance_mm: float, slab_mm: float) -> int:
    """Return how many slices away a neighbor is: about one slab, at least one slice."""
    return max(1, round(slab_mm / distance_mm))
