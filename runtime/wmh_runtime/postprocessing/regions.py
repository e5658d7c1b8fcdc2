"""Regions of the brain, and where in the brain the lesions are.

Every voxel of a lesion has one location. In cerebellum and brain stem it is infratentorial. Of the
others, those near the lateral ventricles are periventricular, those near the cortex juxtacortical,
and the rest is deep. A confluent lesion is in several locations: volumes count voxels. For the
number of lesions, each counts where most of its voxels are.

Sources of the distances: 10 mm from the ventricles, DeCarli et al., Stroke 2005, and Griffanti et
al., NeuroImage 2018; 3 mm from the ventricles and 4 mm from the cortex, Kim et al., Biological
Psychiatry 2008.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from wmh_runtime.imageio.nifti_header import Affine, spacing_mm_from_affine
from wmh_runtime.postprocessing.lesions import Lesions, box_around
from wmh_runtime.postprocessing.parcellation import (
    LesionRegion,
    Parcellation,
    RegionLoad,
    lesion_regions,
    region_loads,
    sides_of_lesions,
)
from wmh_runtime.postprocessing.symmetry import LEAST_AGREEMENT, find_symmetry_plane
from wmh_runtime.types import Floats, Mask

BRAIN, VENTRICLES, CORTEX, POSTERIOR = "brain", "ventricles", "cortex", "posterior"

REGION_THRESHOLD = 0.5  # of all regions
# Of the largest piece. Smaller pieces of brain are in neck, scalp or orbits. On nine scans with
# masks, smaller pieces of ventricles were in basal ganglia and sulci.
_LEAST_PIECE = 0.1
PERIVENTRICULAR_MM = (10.0, 3.0)  # both are in use; the first one is that of the locations
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
    side_of_lesions: Sequence[str] = ()  # "left" or "right"
    loads: Sequence[RegionLoad] = ()  # by region and side, in every scheme
    atlas_of_lesions: Sequence[LesionRegion] = ()  # region of an atlas that most of it lies in
    symmetry: float | None = None  # agreement of both halves of the brain; see symmetry.py


def clean_regions(masks: Mapping[str, Mask]) -> dict[str, Mask]:
    """Return the regions within the brain, and without small pieces of brain and ventricles.

    A damaged slice cuts the brain in two large pieces: both are kept.

    Args:
        masks: of each region, (x, y, z).
    """
    cleaned = dict(masks)
    if BRAIN in masks:
        brain = _large_pieces(masks[BRAIN])
        cleaned = {name: mask & brain for name, mask in masks.items()} | {BRAIN: brain}
    if VENTRICLES in masks:
        cleaned[VENTRICLES] = _large_pieces(cleaned[VENTRICLES])
    return cleaned


def _large_pieces(mask: Mask) -> Mask:
    """Return the pieces whose size is above a share of that of the largest one."""
    pieces = cc3d.connected_components(mask, connectivity=6)
    voxels = np.bincount(pieces.ravel())
    voxels[0] = 0  # the background
    return (voxels > _LEAST_PIECE * voxels.max())[pieces]


def brain_of(regions: Mapping[str, Mask]) -> Mask | None:
    """Return the brain, (x, y, z); None if it is not known or nothing of it was found."""
    brain = regions.get(BRAIN)
    return brain if brain is not None and brain.any() else None


def number_regions(regions: Mapping[str, Mask]) -> NDArray[np.uint8]:
    """Return one volume with the number of the region of each voxel, from 1 in their order.

    `brain` is what no other region covers.

    Args:
        regions: (x, y, z), by name, without overlaps but for the brain; at least one.
    """
    numbers = np.zeros(next(iter(regions.values())).shape, np.uint8)
    numbered = {name: number for number, name in enumerate(regions, start=1)}
    for name in sorted(regions, key=lambda name: name != BRAIN):  # the brain first, then in order
        numbers[regions[name]] = numbered[name]
    return numbers


def measure_burden(
    lesions: Lesions,
    regions: Mapping[str, Mask],
    affine: Affine,
) -> Burden:
    """Measure the share of the brain that the lesions take, and how much is where.

    Args:
        lesions: (x, y, z).
        regions: on the same grid. The share needs the brain; the locations need brain, ventricles,
            cortex and posterior.
        affine: (4, 4), voxel index to RAS+ mm.
    """
    if (brain := brain_of(regions)) is None:
        return Burden()
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    percent_of_brain = 100 * lesions.volume_ml / (voxel_ml * np.count_nonzero(brain))
    numbers = number_regions(regions)
    plane = find_symmetry_plane(numbers, affine)
    box = box_around(lesions.mask.astype(np.bool_) | brain)
    is_found = plane.agreement >= LEAST_AGREEMENT
    left = plane.is_left(numbers.shape, affine)[box] if is_found else None
    inside = replace(lesions, labels=lesions.labels[box])
    parts = Parcellation("brain", numbers[box], dict(enumerate(regions, start=1)))
    if not all(name in regions for name in _NEEDED):
        loads = region_loads(inside, parts, left, voxel_ml)
        return Burden(
            percent_of_brain,
            side_of_lesions=sides_of_lesions(inside, left),
            loads=loads,
            symmetry=plane.agreement,
        )
    cropped = {name: mask[box] for name, mask in regions.items()}
    spacing_mm, names = spacing_mm_from_affine(affine), dict(enumerate(LOCATIONS, start=1))
    located = _locate(inside.labels > 0, cropped, spacing_mm, PERIVENTRICULAR_MM)
    schemes = [
        Parcellation(f"location_{distance_mm:g}mm", one, names, covers_brain=False)
        for distance_mm, one in zip(PERIVENTRICULAR_MM, located, strict=True)
    ]
    loads = [
        load
        for scheme in (*schemes, parts)
        for load in region_loads(inside, scheme, left, voxel_ml)
    ]
    locations = {
        load.region: LocationBurden(load.lesion_ml, load.lesion_count)
        for load in loads
        if load.scheme == schemes[0].scheme and load.side == "" and load.region in LOCATIONS
    }
    return Burden(
        percent_of_brain,
        locations,
        [one.name for one in lesion_regions(inside, schemes[0])],
        sides_of_lesions(inside, left),
        loads,
        symmetry=plane.agreement,
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
    if mask.any():
        box = box_around(mask | regions[BRAIN])
        cropped = {name: region[box] for name, region in regions.items()}
        (location[box],) = _locate(mask[box], cropped, spacing_mm, PERIVENTRICULAR_MM[:1])
    return location


def _locate(
    mask: Mask,
    regions: Mapping[str, Mask],
    spacing_mm: tuple[float, float, float],
    periventricular_mm: Sequence[float],
) -> list[NDArray[np.uint8]]:
    """Return the location of each voxel, for each distance from the ventricles."""
    if not mask.any():
        return [np.zeros(mask.shape, np.uint8) for _ in periventricular_mm]
    near_cortex = _distance_mm(regions[CORTEX], spacing_mm) <= JUXTACORTICAL_MM
    to_ventricles_mm = _distance_mm(regions[VENTRICLES], spacing_mm)
    located = []
    for distance_mm in periventricular_mm:
        part = np.full(mask.shape, _DEEP, np.uint8)
        part[near_cortex] = _JUXTACORTICAL
        part[to_ventricles_mm <= distance_mm] = _PERIVENTRICULAR
        part[regions[POSTERIOR]] = _INFRATENTORIAL
        located.append(part * mask)
    return located


def _distance_mm(region: Mask, spacing_mm: tuple[float, float, float]) -> Floats:
    """Return the distance of each voxel from a region; infinity if it is empty."""
    if not region.any():
        return np.full(region.shape, np.inf, np.float32)
    distance: Floats = edt.edt(~region, anisotropy=spacing_mm)
    return distance
