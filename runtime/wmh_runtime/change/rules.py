"""The rules: when a lesion is new, enlarging, shrinking, resolved or stable.

All limits are here. Those in mm and mm³ without another source were measured on rescans of
synthetic heads without any change; docs/change.md has the measurements.

A lesion here is all that is connected in either of two visits: a lesion that splits, or several
that merge, are one lesion.
"""

from __future__ import annotations

import math
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
# How far the boundary of a lesion moves from scan to scan: in 95 % of the lesions, the difference
# of two volumes is below this distance times the surface.
BOUNDARY_MM = 0.4
# The same for all lesions of a scan together; errors of single lesions cancel out in part.
TOTAL_BOUNDARY_MM = 0.2
# Lesions with at most this gap are one lesion: about what the boundaries of both visits and their
# registration leave open.
LINK_GAP_MM = 2.0

RULES_VERSION = 1  # increase it if the same inputs give other classes


def volume_uncertainty_mm3(surface_mm2: float) -> float:
    """Return what the difference of two volumes of an unchanged lesion rarely exceeds.

    Args:
        surface_mm2: of the lesion, at the visit at which it is larger.
    """
    return BOUNDARY_MM * surface_mm2


def total_uncertainty_ml(surface_mm2: float) -> float:
    """Return the same for all lesions together, in mL.

    Args:
        surface_mm2: of all lesions, at the visit at which it is larger.
    """
    return TOTAL_BOUNDARY_MM * surface_mm2 / 1000


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
