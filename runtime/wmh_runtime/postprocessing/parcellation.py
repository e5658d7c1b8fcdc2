"""Lesions by region: for any division of the brain, how much lesion is in each of its regions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.postprocessing.lesions import Lesions, count_pairs
from wmh_runtime.types import Mask

BRAIN_SCHEME, ATLAS_SCHEME = "brain", "atlas"  # the network's regions, and those of the user
NO_REGION = "none"  # of voxels that no region covers
LEFT, RIGHT = "left", "right"


@dataclass(frozen=True)
class Parcellation:
    """A division of the brain into regions."""

    scheme: str  # its name: `brain`, `location_10mm`, `atlas`
    numbers: NDArray[np.unsignedinteger]  # (x, y, z), of the region; 0: of none
    names: Mapping[int, str]  # of all numbers but 0, in the order of the tables
    covers_brain: bool = True  # else it is known within lesions only, so regions have no volume


@dataclass(frozen=True)
class RegionLoad:
    """The lesions in one region, or in its left or right half."""

    scheme: str
    region: str
    side: str  # "left", "right"; "": both
    region_ml: float | None  # None: not known
    lesion_ml: float
    lesion_count: int  # of which most lies in this region, and in this half


@dataclass(frozen=True)
class LesionRegion:
    """The region that most of one lesion lies in."""

    name: str
    share: float  # of the lesion, in (0, 1]


@dataclass(frozen=True)
class ParcellationBurden:
    """The lesions in the regions of a parcellation."""

    loads: Sequence[RegionLoad]  # by side and region
    of_lesions: Sequence[LesionRegion]  # of each lesion, largest first


def measure_parcellation(
    lesions: Lesions, parcellation: Parcellation, left: Mask | None, voxel_ml: float
) -> ParcellationBurden:
    """Measure the lesions in each region and, if the halves are known, in each half of it.

    The volumes of all regions together, `none` included, are the volume of the lesions.

    Args:
        lesions: (x, y, z).
        parcellation: on the same grid.
        left: the voxels to the left of the symmetry plane; None: not known.
        voxel_ml: volume of one voxel.
    """
    names, indices = _names(parcellation), _indices(parcellation)
    by_lesion = _voxels_by_lesion(lesions, indices, len(names))
    region_of, most = by_lesion.argmax(axis=1), by_lesion.max(axis=1, initial=0)
    sides = np.array(sides_of_lesions(lesions, left))
    in_lesion = lesions.labels > 0
    loads: list[RegionLoad] = []
    for side, half in _halves(left):
        where = in_lesion if half is None else in_lesion & half
        lesion_voxels = np.bincount(indices[where], minlength=len(names))
        region_voxels = _count(indices, half, len(names))
        counted = region_of[sides == side] if side else region_of
        counts = np.bincount(counted, minlength=len(names))
        for index, name in enumerate(names):
            is_known = parcellation.covers_brain and name != NO_REGION
            loads.append(
                RegionLoad(
                    scheme=parcellation.scheme,
                    region=name,
                    side=side,
                    region_ml=float(region_voxels[index] * voxel_ml) if is_known else None,
                    lesion_ml=float(lesion_voxels[index] * voxel_ml),
                    lesion_count=int(counts[index]),
                )
            )
    shares = most / np.maximum(by_lesion.sum(axis=1), 1)
    return ParcellationBurden(
        loads,
        [
            LesionRegion(names[index], float(share))
            for index, share in zip(region_of, shares, strict=True)
        ],
    )


def sides_of_lesions(lesions: Lesions, left: Mask | None) -> list[str]:
    """Return the side that most of each lesion lies on; nothing if it is not known."""
    if left is None:
        return []
    is_left = _voxels_by_lesion(lesions, left, 2).argmax(axis=1)
    return [LEFT if one else RIGHT for one in is_left]


def _count(indices: NDArray[np.uint16], half: Mask | None, count: int) -> NDArray[np.int64]:
    """Count the voxels with each index, slice by slice: numpy needs 8 bytes for each voxel."""
    total = np.zeros(count, np.int64)
    for number, one in enumerate(indices):
        total += np.bincount(one.ravel() if half is None else one[half[number]], minlength=count)
    return total


def _halves(left: Mask | None) -> Iterator[tuple[str, Mask | None]]:
    yield "", None
    if left is not None:
        yield LEFT, left
        yield RIGHT, ~left


def _names(parcellation: Parcellation) -> Sequence[str]:
    """Return the names of the regions, and of what none covers, at last."""
    return [*parcellation.names.values(), NO_REGION]


def _indices(parcellation: Parcellation) -> NDArray[np.uint16]:
    """Return the position in `_names` of the region of each voxel, (x, y, z)."""
    highest = max(int(parcellation.numbers.max(initial=0)), *parcellation.names, 0)
    table = np.full(highest + 1, len(parcellation.names), np.uint16)
    for index, number in enumerate(parcellation.names):
        table[number] = index
    return table[parcellation.numbers]


def _voxels_by_lesion(lesions: Lesions, indices: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Count the voxels of each lesion with each index, (lesions, count)."""
    where = lesions.labels > 0
    with_outside = count_pairs(lesions.labels[where], indices[where], (lesions.count + 1, count))
    return with_outside[1:]
