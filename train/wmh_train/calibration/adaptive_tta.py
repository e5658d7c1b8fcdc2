"""Calibrate adaptive TTA: in which slices one view suffices, because they contain no lesion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.types import Floats
from wmh_train.calibration.threshold_sweep import THRESHOLDS

_MAX_LOST_SHARE = 0.01  # of the volume of a mask, in slices that count as empty
_SAFETY_FACTOR = 0.5  # because other scans may differ from the validation scans


@dataclass(frozen=True)
class SliceStatistics:
    """Statistics of the n slices of one scan in one plane, for one output."""

    max_probability: NDArray[np.float32]  # [n], with one view
    pixels: NDArray[np.int_]  # [n, thresholds], of the mask with eight views

    @classmethod
    def from_probabilities(cls, one_view: Floats, eight_views: Floats) -> SliceStatistics:
        """Compute the statistics of slices as the network sees them.

        Args:
            one_view: probability with one view, (n, S, S).
            eight_views: probability with eight views, same shape.
        """
        pixels = [(eight_views >= threshold).sum(axis=(1, 2)) for threshold in THRESHOLDS]
        return cls(one_view.max(axis=(1, 2)), np.stack(pixels, axis=1))


def empty_slice_threshold(scans: Sequence[SliceStatistics], threshold: float) -> float:
    """Return the probability below which the first view of a slice counts as empty.

    A value is safe if the slices below it contain at most 1 % of the volume of each mask. A mask
    without this volume still has a Dice of 0.995 with the full mask. The result is half of the
    largest safe value, or 0 if all masks are empty.

    Args:
        scans: slice statistics of each validation scan, in each of its planes.
        threshold: probability threshold of the masks, one of THRESHOLDS.
    """
    index = THRESHOLDS.index(threshold)
    largest_safe = min(
        _largest_safe_value(scan.max_probability, scan.pixels[:, index]) for scan in scans
    )
    return _SAFETY_FACTOR * largest_safe if math.isfinite(largest_safe) else 0.0


def _largest_safe_value(max_probability: NDArray[np.float32], pixels: NDArray[np.int_]) -> float:
    """Return the largest safe value for one scan; infinity if its mask is empty."""
    order = np.argsort(max_probability)
    too_much = np.cumsum(pixels[order]) > _MAX_LOST_SHARE * pixels.sum()
    return float(max_probability[order][np.argmax(too_much)]) if too_much.any() else math.inf
