"""Intensity normalization: the same intensity scale for every scanner."""

from __future__ import annotations

import numpy as np

from wmh_runtime.types import Floats, Mask


def normalize(stack: Floats, head: Mask, clip_percentiles: tuple[float, float]) -> Floats:
    """Clip intensities to percentiles of the head, then z-score them; 0 outside the head.

    Args:
        stack: (slices, rows, columns), any intensity scale.
        head: same shape, with at least one voxel.
        clip_percentiles: lower and upper, in [0, 100].

    Returns:
        float32, same shape as the stack; mean 0 and standard deviation 1 in the head, or all 0
        if the head has a single intensity.
    """
    inside = stack[head].astype(np.float64)
    low, high = np.percentile(inside, clip_percentiles)
    inside = np.clip(inside, low, high)
    spread = inside.std()
    normalized = np.zeros(stack.shape, np.float32)
    if spread > 0:
        normalized[head] = (inside - inside.mean()) / spread
    return normalized
