"""Which slices one view shows to be empty, so that the other seven need not be looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.types import Floats
from wmh_train.calibration.threshold_sweep import THRESHOLDS

_LOST = 0.01  # share of a mask's volume that may lie in slices taken for empty
_MARGIN = 0.5  # of what that allows: other scans are not those it was chosen on


@dataclass(frozen=True)
class SlicesSeen:
    """Slices of one output, as one view shows them and as eight do."""

    strongest: NDArray[np.float32]  # [n], largest probability of one view
    volume_mm3: NDArray[np.float64]  # [n, thresholds], of the mask of eight views

    @classmethod
    def of(cls, one_view: Floats, eight_views: Floats, voxel_volume_mm3: float) -> SlicesSeen:
        """Look at the slices of a scan.

        Args:
            one_view: probability, (slices, rows, columns).
            eight_views: likewise.
            voxel_volume_mm3: of one voxel.
        """
        voxels = [(eight_views >= cut).sum(axis=(1, 2)) for cut in THRESHOLDS]
        return cls(one_view.max(axis=(1, 2)), np.stack(voxels, axis=1) * voxel_volume_mm3)


def empty_below(seen: Sequence[SlicesSeen], threshold: float) -> float:
    """Choose the bound below which a slice's probabilities in one view say that it is empty.

    Half of the largest bound at which such slices hold no more than a hundredth of the volume of
    any mask: a mask that lost as much would still have a Dice of 0.995 with itself. 0 where nothing
    was found in any scan, as nothing can be learned from that.

    Args:
        seen: slices of each scan to choose on.
        threshold: of the masks, one of THRESHOLDS.
    """
    cut = THRESHOLDS.index(threshold)
    bound = min(_bound_of(scan.strongest, scan.volume_mm3[:, cut]) for scan in seen)
    return _MARGIN * bound if math.isfinite(bound) else 0.0


def _bound_of(strongest: NDArray[np.float32], volume_mm3: NDArray[np.float64]) -> float:
    """Return the largest bound of one scan; infinite where its mask is empty."""
    weakest_first = np.argsort(strongest)
    lost = np.cumsum(volume_mm3[weakest_first]) > _LOST * volume_mm3.sum()
    return float(strongest[weakest_first][np.argmax(lost)]) if lost.any() else math.inf
