"""The rules: when a lesion is new, enlarging, shrinking, resolved or stable.

All limits are here. Those in mm and mm³ without another source were measured on rescans of
synthetic heads without any change; docs/change.md has the measurements.

A lesion here is all that is connected in either of two visits: a lesion that splits, or several
that merge, are one lesion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

ChangeClass = Literal["new", "enlarging", "shrinking", "resolved", "stable"]
CLASSES: tuple[ChangeClass, ...] = get_args(ChangeClass)  # in label maps: their numbers, from 1

# Of the smaller of both volumes, so that swapping the visits swaps the classes.
RELATIVE_CHANGE = 0.25
# The smallest lesion that the evaluation program of the MSSEG challenges counts by default
# (animaSegPerfAnalyzer; Commowick et al. 2018, doi 10.1038/s41598-018-31911-7).
SMALLEST_CHANGE_MM3 = 3.0
# A lesion is there, if only weakly, at a visit where the level map is above this in its place, on
# average. The level is 0.5 at the threshold of the mask.
HIGHEST_LEVEL_OF_NONE = 0.05
# Lesions with at most this gap are one lesion: about what the boundaries of both visits and their
# registration leave open.
LINK_GAP_MM = 2.0

RULES_VERSION = 2  # increase it if the same inputs give other classes


@dataclass(frozen=True)
class Boundary:
    """How far boundaries of unchanged lesions move from scan to scan.

    The difference of two volumes is rarely more than this distance times the surface, at the visit
    at which it is larger.
    """

    lesion_mm: float  # for 95 % of the lesions
    total_mm: float  # for all lesions of a scan together: errors cancel out in part

    def lesion_mm3(self, surface_mm2: float) -> float:
        """Return the uncertainty of the change of a lesion."""
        return self.lesion_mm * surface_mm2

    def total_ml(self, surface_mm2: float) -> float:
        """Return the uncertainty of the change of all lesions together, in mL."""
        return self.total_mm * surface_mm2 / 1000


ONE_PROTOCOL = Boundary(lesion_mm=0.4, total_mm=0.2)
# Of two scans with other slices or another contrast.
TWO_PROTOCOLS = Boundary(lesion_mm=0.5, total_mm=0.45)


def classify(
    before_mm3: float, after_mm3: float, uncertainty_mm3: float, shared_level: float = 0.0
) -> ChangeClass:
    """Return the class of a lesion.

    Args:
        before_mm3: its volume at the earlier visit, 0 if it is not there.
        after_mm3: at the later visit, 0 if it is not there.
        uncertainty_mm3: of the difference.
        shared_level: 0 to 1, mean of the lower one of the two level maps in the lesion; 0 without
            probability maps.
    """
    is_growth = after_mm3 > before_mm3
    small_mm3, large_mm3 = sorted((before_mm3, after_mm3))
    if large_mm3 - small_mm3 <= uncertainty_mm3 + SMALLEST_CHANGE_MM3:
        return "stable"
    if small_mm3 == 0:
        if shared_level > HIGHEST_LEVEL_OF_NONE:
            return "stable"
        return "new" if is_growth else "resolved"
    relative = (large_mm3 - small_mm3) / small_mm3
    if relative < RELATIVE_CHANGE or math.isclose(relative, RELATIVE_CHANGE):
        return "stable"
    return "enlarging" if is_growth else "shrinking"
