"""Regions of the brain, and where in the brain the lesions are.

Every voxel of a lesion has one location. In cerebellum and brain stem it is infratentorial. Of the
others, those near the lateral ventricles are periventricular, those near the cortex juxtacortical,
and the rest is deep. A confluent lesion is in several locations: volumes count voxels. For the
number of lesions, each counts where most of its voxels are.

Sources of the distances: 10 mm from the ventricles, DeCarli et al., Stroke 2005, and Griffanti et
al., NeuroImage 2018; 4 mm from the cortex, Kim et al., Biological Psychiatry 2008.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from wmh_runtime.postprocessing.lesions import Lesions, box_around
from wmh_runtime.types import Floats, Mask

BRAIN, VENTRICLES, CORTEX, POSTERIOR = "brain", "ventricles", "cortex", "posterior"

REGION_THRESHOLD = 0.5  # of all regions
PERIVENTRICULAR_MM = 10.0
JUXTACORTICAL_MM = 4.0

LOCATIONS = ("periventricular", "deep", "juxtacortical", "infratentorial")
_PERIVENTRICULAR, _DEEP, _JUXTACORTICAL, _INFRATENTORIAL = range(1, 5)
_NEEDED = (BRAIN, VENTRICLES, CORTEX, POSTERIOR)


@dataclass(frozen=True)
class LocationBurden:
    """The lesions in one location."""

    volume_ml: float
    lesion_count: int  # of which most lies here


@dataclass(frozen=True)
class Burden:
    """The lesions of one output in relation to the brain. Empty if the regions are not known."""

    percent_of_brain: float | None = None
    locations: Mapping[str, LocationBurden] = field(default_factory=dict)
    location_of_lesions: Sequence[str] = ()  # of each lesion, largest first


def within_brain(masks: Mapping[str, Mask]) -> dict[str, Mask]:
    """Keep the largest piece of the brain, and of the other regions what lies in it.

    Args:
        masks: of each region, (x, y, z).
    """
    if BRAIN not in masks:
        return dict(masks)
    brain = cc3d.largest_k(masks[BRAIN], k=1, connectivity=6) > 0
    return {name: mask & brain for name, mask in masks.items()} | {BRAIN: brain}


def number_regions(regions: Mapping[str, Mask]) -> NDArray[np.uint8]:
    """Return one volume with the number of the region of each voxel, from 1 in their order.

    Where regions overlap, the later one counts. So `brain`, the first, is what is left of it.

    Args:
        regions: (x, y, z), by name; at least one.
    """
    masks = list(regions.values())
    numbers = np.zeros(masks[0].shape, np.uint8)
    for number, mask in enumerate(masks, start=1):
        numbers[mask] = number
    return numbers


def measure_burden(
    lesions: Lesions, regions: Mapping[str, Mask], spacing_mm: tuple[float, float, float]
) -> Burden:
    """Measure the share of the brain that the lesions take, and how much is where.

    Args:
        lesions: (x, y, z).
        regions: on the same grid; brain, ventricles, cortex and posterior are needed.
        spacing_mm: of the voxels.
    """
    if not all(name in regions for name in _NEEDED) or not regions[BRAIN].any():
        return Burden()
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    location = locate(lesions.mask.astype(np.bool_), regions, spacing_mm)
    labels = lesions.labels[location > 0]
    by_lesion = np.zeros((lesions.count + 1, len(LOCATIONS) + 1), np.int64)
    np.add.at(by_lesion, (labels, location[location > 0]), 1)
    of_lesions = by_lesion[1:, 1:].argmax(axis=1)
    voxels, counts = by_lesion.sum(axis=0)[1:], np.bincount(of_lesions, minlength=len(LOCATIONS))
    return Burden(
        percent_of_brain=100 * lesions.volume_ml / (voxel_ml * np.count_nonzero(regions[BRAIN])),
        locations={
            name: LocationBurden(float(voxels[i]) * voxel_ml, int(counts[i]))
            for i, name in enumerate(LOCATIONS)
        },
        location_of_lesions=[LOCATIONS[i] for i in of_lesions],
    )


def locate(
    mask: Mask, regions: Mapping[str, Mask], spacing_mm: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """Return the location of each voxel of a mask: its index in `LOCATIONS`, from 1; 0 outside.

    Args:
        mask: (x, y, z).
        regions: on the same grid; brain, ventricles, cortex and posterior are needed.
        spacing_mm: of the voxels.
    """
    location = np.zeros(mask.shape, np.uint8)
    if not mask.any():
        return location
    box = box_around(mask | regions[BRAIN])
    inside = mask[box]
    near_cortex = _distance_mm(regions[CORTEX][box], spacing_mm) <= JUXTACORTICAL_MM
    near_ventricles = _distance_mm(regions[VENTRICLES][box], spacing_mm) <= PERIVENTRICULAR_MM
    part = np.full(inside.shape, _DEEP, np.uint8)
    part[near_cortex] = _JUXTACORTICAL
    part[near_ventricles] = _PERIVENTRICULAR
    part[regions[POSTERIOR][box]] = _INFRATENTORIAL
    location[box] = part * inside
    return location


def _distance_mm(region: Mask, spacing_mm: tuple[float, float, float]) -> Floats:
    """Return the distance of each voxel from a region; infinity if it is empty."""
    if not region.any():
        return np.full(region.shape, np.inf, np.float32)
    distance: Floats = edt.edt(~region, anisotropy=spacing_mm)
    return distance
