"""Where in the brain the lesions are: near the ventricles, near the cortex, or deep.

Every voxel of a lesion has one location. In cerebellum and brain stem it is infratentorial. Of the
others, those near the lateral ventricles are periventricular, those near the cortex juxtacortical,
and the rest is deep.

Sources of the distances: 10 mm from the ventricles, DeCarli et al., Stroke 2005, and Griffanti et
al., NeuroImage 2018; 3 mm from the ventricles and 4 mm from the cortex, Kim et al., Biological
Psychiatry 2008.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import edt
import numpy as np
from numpy.typing import NDArray

from wmh_runtime.postprocessing.lesions import box_around, grown_box
from wmh_runtime.postprocessing.regions import BRAIN, CORTEX, POSTERIOR, VENTRICLES
from wmh_runtime.types import Floats, Mask

PERIVENTRICULAR_MM = (10.0, 3.0)  # both are in use; the first one is that of the locations
JUXTACORTICAL_MM = 4.0

LOCATIONS = ("periventricular", "deep", "juxtacortical", "infratentorial")
NEEDED_REGIONS = (BRAIN, VENTRICLES, CORTEX, POSTERIOR)
_PERIVENTRICULAR, _DEEP, _JUXTACORTICAL, _INFRATENTORIAL = range(1, 5)


def locate(
    mask: Mask, regions: Mapping[str, Mask], spacing_mm: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """Return the location of each voxel of a mask: its index in `LOCATIONS`, from 1; 0 outside.

    Args:
        mask: (x, y, z).
        regions: on the same grid; ventricles, cortex and posterior are needed.
        spacing_mm: of the voxels.
    """
    (location,) = locate_for_distances(mask, regions, spacing_mm, PERIVENTRICULAR_MM[:1])
    return location


def locate_for_distances(
    mask: Mask,
    regions: Mapping[str, Mask],
    spacing_mm: tuple[float, float, float],
    periventricular_mm: Sequence[float],
) -> list[NDArray[np.uint8]]:
    """Return the location of each voxel, for each distance from the ventricles; see `locate`."""
    located = [np.zeros(mask.shape, np.uint8) for _ in periventricular_mm]
    if not mask.any():
        return located
    # Nothing beyond these distances from the lesions decides.
    farthest_mm = max(JUXTACORTICAL_MM, *periventricular_mm)
    margins = [math.ceil(farthest_mm / spacing) for spacing in spacing_mm]
    box = grown_box(box_around(mask), margins, mask.shape)
    near_cortex = _distance_mm(regions[CORTEX][box], spacing_mm) <= JUXTACORTICAL_MM
    to_ventricles_mm = _distance_mm(regions[VENTRICLES][box], spacing_mm)
    for location, distance_mm in zip(located, periventricular_mm, strict=True):
        part = np.full(near_cortex.shape, _DEEP, np.uint8)
        part[near_cortex] = _JUXTACORTICAL
        part[to_ventricles_mm <= distance_mm] = _PERIVENTRICULAR
        part[regions[POSTERIOR][box]] = _INFRATENTORIAL
        location[box] = part * mask[box]
    return located


def _distance_mm(region: Mask, spacing_mm: tuple[float, float, float]) -> Floats:
    """Return the distance of each voxel from a region; infinity if it is empty."""
    if not region.any():
        return np.full(region.shape, np.inf, np.float32)
    distance: Floats = edt.edt(~region, anisotropy=spacing_mm)
    return distance
