"""Intensity normalization: the same scale for every scanner."""

from __future__ import annotations

import numpy as np

from wmh_runtime.types import Floats, Mask


def normalize(stack: Floats, head: Mask, clip_percentiles: tuple[float, float]) -> Floats:
    """Clip to percentiles of the head, then z-score within the head; 0 outside it.

    Args:
        stack: (slices, rows, columns), any intensity scale.
        head: which voxels count, same shape, at least one.
        clip_percentiles: lower and upper, in [0, 100].

    Returns:
        float32, the stack's shape; mean 0 and standard deviation 1 within the head, or all 0
        where the head is of one intensity.
    """
    inside = stack[head].astype(np.float64)
    low, high = np.percentile(inside, clip_percentiles)
    inside = np.clip(inside, low, high)
    spread = inside.std()
    normalized = np.zeros(stack.shape, np.float32)
    if spread > 0:
        normalized[head] = (inside - inside.mean()) / spread
    return normalized
