"""Volumes that are far from those of the other scans of a folder.

Lesion volumes of a cohort are skewed, so their logarithms are compared. The modified z-score is
that of Iglewicz and Hoaglin, *How to Detect and Handle Outliers*, 1993: 0.6745 · (x − median) /
MAD, where MAD is the median of the absolute deviations from the median. They propose the bound of
3.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

OUTLIER_Z = 3.5
FEWEST_SCANS = 10  # with fewer, the spread of a cohort is hardly known
_OFFSET_ML = 0.1  # so that no lesion has a logarithm, too
_NORMAL_CONSISTENCY = 0.6745  # of the MAD with the standard deviation of a normal distribution


def volume_z_scores(volumes_ml: Sequence[float]) -> list[float | None]:
    """Return the modified z-score of each volume; None if there are too few, or all are equal."""
    if len(volumes_ml) < FEWEST_SCANS:
        return [None] * len(volumes_ml)
    logs = [math.log(volume + _OFFSET_ML) for volume in volumes_ml]
    middle = median(logs)
    spread = median(abs(value - middle) for value in logs)
    if spread == 0:
        return [None] * len(volumes_ml)
    return [_NORMAL_CONSISTENCY * (value - middle) / spread for value in logs]


def outlier_warning(z: float | None, count: int) -> str:
    """Return the warning about a volume; empty if it is no outlier.

    Args:
        z: of the volume.
        count: of the scans it was compared with.
    """
    if z is None or abs(z) <= OUTLIER_Z:
        return ""
    size = "larger" if z > 0 else "smaller"
    return (
        f"the volume is much {size} than those of the {count} scans of this folder (z-score"
        f" {z:.1f}, bound {OUTLIER_Z:g}): look at the picture"
    )
