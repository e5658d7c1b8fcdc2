"""Outliers: voxels that are much brighter than normal white matter.

White matter lesions as voxels above a threshold in FLAIR that comes from the distribution of normal
tissue in the same scan: de Boer et al. 2009, doi 10.1016/j.neuroimage.2009.01.011. Here the spread
is measured below the most frequent intensity only, where neither lesions nor cortex add to it.
"""

from __future__ import annotations

import numpy as np

from wmh_runtime.types import Mask
from wmh_train.bronze.brain import Brain

_NORMAL = (0.75, 1.25)  # range of normal tissue, relative to white matter
_BINS = 100
_SPREADS = 3.5  # above the most frequent intensity
_LEAST = 1.25  # of white matter, for scans without noise
_BELOW_SHARE = 0.317  # of the voxels below the mode lie further from it than one spread


def segment_outliers(brain: Brain) -> Mask:
    """Return the voxels inside the brain that are brighter than normal tissue can be."""
    return brain.inside & (brain.intensity > _threshold(brain))


def _threshold(brain: Brain) -> float:
    values = brain.intensity[brain.inside]
    values = values[(values > _NORMAL[0]) & (values < _NORMAL[1])]
    if not values.size:
        return _LEAST
    counts, edges = np.histogram(values, _BINS, _NORMAL)
    highest = int(np.convolve(counts, np.ones(9), mode="same").argmax())
    mode = (edges[highest] + edges[highest + 1]) / 2
    below = values[values < mode]
    spread = mode - float(np.quantile(below, _BELOW_SHARE)) if below.size else 0.0
    return max(_LEAST, float(mode) + _SPREADS * spread)
