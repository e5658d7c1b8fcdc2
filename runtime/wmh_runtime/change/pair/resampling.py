"""Bring two visits to the grid of their halfway space, by linear interpolation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from wmh_runtime.change.pair.halfway import HalfwayTransforms, box_corners, halfway_grid
from wmh_runtime.change.visits import LESION_LEVEL, VisitImages
from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.imageio.regrid import GridMatch, bring_to_grid, nearest_on_grid
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.postprocessing.lesions import box_around
from wmh_runtime.postprocessing.locations import NEEDED_REGIONS, locate
from wmh_runtime.postprocessing.regions import BRAIN
from wmh_runtime.preprocessing.head_mask import otsu_threshold
from wmh_runtime.types import Floats, Mask

Visits = tuple[VisitImages, VisitImages]

_ROUNDING = 1e-4  # of the level at the boundary of a lesion


@dataclass(frozen=True, eq=False)
class BroughtVisits:
    """Two visits on the grid of their halfway space; all volumes are (x, y, z).

    Attributes:
        grid: without values.
        images: outside of a scan its lowest value.
        levels: around the lesions of both visits; 0 elsewhere.
        covered: by both scans.
        regions: by name, of the later visit, or else of the earlier one; empty: not known.
        locations: of the voxels of both brains, see `locate`; None: not known of one of them.
    """

    grid: Scan
    images: tuple[Floats, Floats]
    levels: tuple[Floats, Floats]
    covered: Mask
    regions: dict[str, Mask]
    locations: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None

    @property
    def lesions(self) -> tuple[Mask, Mask]:
        """The lesions of both visits where both scans show something."""
        before, after = (
            self.covered & (level >= LESION_LEVEL - _ROUNDING) for level in self.levels
        )
        return before, after

    @property
    def tissue(self) -> Mask:
        """The brain, or where one of both images is bright if the brain is not known."""
        if BRAIN in self.regions:
            return self.covered & self.regions[BRAIN]
        before, after = (image > otsu_threshold(image) for image in self.images)
        return self.covered & (before | after)


def bring_visits(visits: Visits, transforms: HalfwayTransforms) -> BroughtVisits:
    """Bring images, lesions and regions of two visits to their halfway space."""
    grid = halfway_grid(visits, transforms)
    affines = (
        transforms.before @ visits[0].scan.affine,
        transforms.after @ visits[1].scan.affine,
    )
    before, after = (
        bring_to_grid(replace(visit.scan, affine=affine), grid)
        for visit, affine in zip(visits, affines, strict=True)
    )
    return BroughtVisits(
        grid=grid,
        images=(before.scan.voxels, after.scan.voxels),
        levels=_bring_levels(visits, affines, grid),
        covered=_covered(before) & _covered(after),
        regions=_bring_regions(visits, affines, grid),
        locations=_bring_locations(visits, affines, grid),
    )


def _bring_levels(
    visits: Visits, affines: tuple[Affine, Affine], grid: Scan
) -> tuple[Floats, Floats]:
    """Return both level maps; lesions are a small part of a brain, so it takes little time."""
    results = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
    to_grid = np.linalg.inv(grid.affine)
    corners = [
        apply_affine(to_grid @ affine, box_corners(box_around(visit.lesions)))
        for visit, affine in zip(visits, affines, strict=True)
        if visit.lesions.any()
    ]
    if not corners:
        return results
    places = np.concatenate(corners)
    start = np.maximum(np.floor(places.min(axis=0)).astype(int) - 1, 0)
    stop = np.minimum(np.ceil(places.max(axis=0)).astype(int) + 2, grid.shape)
    box = tuple(slice(low, high) for low, high in zip(start, stop, strict=True))
    box_affine = grid.affine.copy()
    box_affine[:3, 3] = apply_affine(grid.affine, start)
    part = replace(grid, voxels=grid.voxels[box], affine=box_affine)
    for result, visit, affine in zip(results, visits, affines, strict=True):
        level = replace(visit.scan, voxels=visit.level, affine=affine)
        result[box] = bring_to_grid(level, part).scan.voxels
    return results


def _covered(match: GridMatch) -> Mask:
    """Return where the scan has values."""
    return np.ones(match.scan.shape, np.bool_) if match.covered is None else match.covered


def _bring_regions(visits: Visits, affines: tuple[Affine, Affine], grid: Scan) -> dict[str, Mask]:
    for visit, affine in zip(visits[::-1], affines[::-1], strict=True):
        if visit.regions is not None:
            numbers = nearest_on_grid(visit.regions.numbers, affine, grid)
            return replace(visit.regions, numbers=numbers).masks()
    return {}


def _bring_locations(
    visits: Visits, affines: tuple[Affine, Affine], grid: Scan
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """Locate the voxels on the grids of the scans, as the tables of the scans do."""
    brought = []
    for visit, affine in zip(visits, affines, strict=True):
        masks = {} if visit.regions is None else visit.regions.masks()
        if not all(name in masks for name in NEEDED_REGIONS):
            return None
        located = locate(masks[BRAIN] | visit.lesions, masks, visit.scan.spacing_mm)
        brought.append(nearest_on_grid(located, affine, grid))
    before, after = brought
    return before, after
