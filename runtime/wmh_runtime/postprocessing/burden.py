"""Lesions in relation to the brain: their share of it, and how much is where.

A confluent lesion is in several locations: volumes count voxels. For the number of lesions, each
counts where most of its voxels are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from wmh_runtime.imageio.nifti_header import Affine, spacing_mm_from_affine
from wmh_runtime.postprocessing.lesions import Lesions, box_around
from wmh_runtime.postprocessing.locations import (
    LOCATIONS,
    NEEDED_REGIONS,
    PERIVENTRICULAR_MM,
    locate_for_distances,
)
from wmh_runtime.postprocessing.parcellation import (
    BRAIN_SCHEME,
    LesionRegion,
    Parcellation,
    RegionLoad,
    measure_parcellation,
    sides_of_lesions,
)
from wmh_runtime.postprocessing.regions import Regions, brain_of
from wmh_runtime.postprocessing.symmetry import LEAST_AGREEMENT, find_symmetry_plane
from wmh_runtime.types import Mask


@dataclass(frozen=True)
class LocationBurden:
    """The lesions in one location."""

    volume_ml: float  #: of the voxels that lie here
    lesion_count: int  #: of which most lies here


@dataclass(frozen=True)
class Burden:
    """The lesions of one output in relation to the brain. Empty if the regions are not known."""

    percent_of_brain: float | None = None  #: volume of the lesions in percent of the brain
    locations: Mapping[str, LocationBurden] = field(default_factory=dict)  #: by name
    location_of_lesions: Sequence[str] = ()  #: of each lesion, largest first
    side_of_lesions: Sequence[str] = ()  #: "left" or "right"
    loads: Sequence[RegionLoad] = ()  #: by region and side, in every scheme
    atlas_of_lesions: Sequence[LesionRegion] = ()  #: region of an atlas that most of it lies in


@dataclass(frozen=True)
class Anatomy:
    """What is known of the brain of a scan, for the lesions of all outputs."""

    box: tuple[slice, ...]  # around brain and lesions
    brain_ml: float
    left: Mask | None  # in the box: the voxels left of the symmetry plane; None: no plane is found
    schemes: Sequence[Parcellation]  # in the box: locations, if they can be told, and regions
    symmetry: float  # agreement of both halves of the brain; see symmetry.py
    voxel_ml: float

    @classmethod
    def of(cls, regions: Mapping[str, Mask], lesions: Mask, affine: Affine) -> Anatomy | None:
        """Find the symmetry plane, and the locations of the voxels of lesions.

        Args:
            regions: (x, y, z), of one scan. The locations need brain, ventricles, cortex and
                posterior.
            lesions: (x, y, z), of all outputs.
            affine: (4, 4), voxel index to RAS+ mm.

        Returns:
            None if the brain is not known.
        """
        if (brain := brain_of(regions)) is None:
            return None
        numbers = Regions.of(regions).numbers
        plane = find_symmetry_plane(numbers, affine)
        box = box_around(lesions | brain)
        inside = Regions(tuple(regions), numbers[box])
        schemes = [Parcellation(BRAIN_SCHEME, inside.numbers, dict(enumerate(regions, start=1)))]
        if all(name in regions for name in NEEDED_REGIONS):
            spacing_mm = spacing_mm_from_affine(affine)
            located = locate_for_distances(lesions[box], inside, spacing_mm, PERIVENTRICULAR_MM)
            names = dict(enumerate(LOCATIONS, start=1))
            schemes = [
                *(
                    Parcellation(f"location_{distance_mm:g}mm", one, names, covers_brain=False)
                    for distance_mm, one in zip(PERIVENTRICULAR_MM, located, strict=True)
                ),
                *schemes,
            ]
        is_found = plane.agreement >= LEAST_AGREEMENT
        voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
        return cls(
            box=box,
            brain_ml=voxel_ml * np.count_nonzero(brain),
            left=plane.is_left(box, affine) if is_found else None,
            schemes=schemes,
            symmetry=plane.agreement,
            voxel_ml=voxel_ml,
        )


def measure_burden(lesions: Lesions, anatomy: Anatomy | None) -> Burden:
    """Measure the share of the brain that the lesions take, and how much is where.

    Args:
        lesions: (x, y, z), of one output.
        anatomy: of the scan; None: not known.
    """
    if anatomy is None:
        return Burden()
    inside = replace(lesions, labels=lesions.labels[anatomy.box])
    measured = [
        measure_parcellation(inside, scheme, anatomy.left, anatomy.voxel_ml)
        for scheme in anatomy.schemes
    ]
    burden = Burden(
        percent_of_brain=100 * lesions.volume_ml / anatomy.brain_ml,
        side_of_lesions=sides_of_lesions(inside, anatomy.left),
        loads=[load for one in measured for load in one.loads],
    )
    if len(measured) == 1:  # the regions only
        return burden
    first = measured[0]  # the locations with the first distance
    return replace(
        burden,
        locations={
            load.region: LocationBurden(load.lesion_ml, load.lesion_count)
            for load in first.loads
            if not load.side and load.region in LOCATIONS
        },
        location_of_lesions=[one.name for one in first.of_lesions],
    )
