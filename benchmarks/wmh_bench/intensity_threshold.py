"""A simple baseline: a global intensity threshold and a filter of component sizes, per case.

The baseline gets every advantage: threshold, smallest and largest component size maximize the Dice
with the same reference mask that it is then compared with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.overlap import dice
from wmh_runtime.postprocessing.lesions import label_components
from wmh_runtime.types import Floats, Mask

_BRIGHTEST_SHARES = np.geomspace(1e-3, 0.5, 40)  # of all voxels, above the threshold
_SMALLEST_MM3 = (0, 3, 6, 10, 20, 50, 100)
_LARGEST_MM3 = (100, 300, 1e3, 3e3, 1e4, 3e4, 1e5, np.inf)


def best_threshold_dice(image: Floats, reference: Mask, voxel_volume_mm3: float) -> float:
    """Return the highest Dice that an intensity threshold can reach.

    Args:
        image: (x, y, z), raw intensities.
        reference: (x, y, z).
        voxel_volume_mm3: volume of one voxel.
    """
    thresholds = np.quantile(image, 1 - _BRIGHTEST_SHARES)
    return max(
        _best_filtered(image >= threshold, reference, voxel_volume_mm3) for threshold in thresholds
    )


def _best_filtered(bright: Mask, reference: Mask, voxel_volume_mm3: float) -> float:
    labels = label_components(bright).ravel()
    sizes: NDArray[np.int64] = np.bincount(labels)
    hits = np.bincount(labels, weights=reference.ravel())
    sizes_mm3 = sizes * voxel_volume_mm3
    reference_voxels = float(reference.sum())
    best = 0.0
    for smallest in _SMALLEST_MM3:
        for largest in _LARGEST_MM3:
            kept = (sizes_mm3 >= smallest) & (sizes_mm3 <= largest)
            kept[0] = False  # the background
            best = max(best, dice(hits[kept].sum(), sizes[kept].sum(), reference_voxels))
    return best
