"""Top-hat: spots that are brighter than what surrounds them, more readily near the ventricles.

The white top-hat is what an opening removes (Meyer 1979, doi 10.1177/27.1.438499), so shading of
the scan does not matter.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, grey_opening

from wmh_runtime.types import Floats, Mask
from wmh_train.bronze.brain import Brain, distance_mm

_WIDTH_MM = 25.0  # wider lesions are not removed by the opening, so they are missed
_SMOOTHING_MM = 0.6
_NEAR, _FAR = 0.25, 0.5  # contrast that is needed at the ventricles, and far from them
_RANGE_MM = 25.0  # at this distance the prior has fallen to one part in e


def segment_top_hat(brain: Brain) -> Mask:
    """Return the voxels inside the brain that stand out from their surroundings."""
    contrast = _top_hat(brain)
    if brain.ventricles.any():
        prior = np.exp(-distance_mm(~brain.ventricles, brain.spacing_mm) / _RANGE_MM)
    else:
        prior = np.zeros_like(contrast)
    needed = _FAR - (_FAR - _NEAR) * prior
    return brain.inside & (brain.intensity > 1) & (contrast > needed)


def _top_hat(brain: Brain) -> Floats:
    """Return the white top-hat of each slice; fluid and what lies outside count as tissue."""
    _, row_mm, column_mm = brain.spacing_mm
    sides = [max(3, round(_WIDTH_MM / mm) | 1) for mm in (row_mm, column_mm)]
    sigmas = [_SMOOTHING_MM / mm for mm in (row_mm, column_mm)]
    tissue = np.where(brain.mask, np.maximum(brain.intensity, 1), 1)
    smooth = np.stack([gaussian_filter(one, sigmas) for one in tissue])
    return smooth - np.stack([grey_opening(one, sides) for one in smooth])
