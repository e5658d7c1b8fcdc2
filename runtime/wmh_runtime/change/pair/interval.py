"""The change of lesions from one visit to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from wmh_runtime.change.pair.doubts import doubts
from wmh_runtime.change.pair.halfway import HalfwayTransforms, find_halfway
from wmh_runtime.change.pair.mask_volumes import MaskVolumes, measure_masks
from wmh_runtime.change.pair.matching import MatchedLesions, match_lesions
from wmh_runtime.change.pair.protocol import protocol_differences
from wmh_runtime.change.pair.resampling import BroughtVisits, bring_visits
from wmh_runtime.change.pair.rigid import inverse_of
from wmh_runtime.change.rules import ONE_PROTOCOL, TWO_PROTOCOLS
from wmh_runtime.change.visits import VisitImages
from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.postprocessing.lesions import count_pairs
from wmh_runtime.postprocessing.locations import LOCATIONS
from wmh_runtime.preprocessing.similarity import shared_information
from wmh_runtime.types import Floats, Mask


@dataclass(frozen=True, eq=False)
class IntervalChange:
    """What changed between two visits. Arrays are on the grid of the halfway space.

    Attributes:
        affine: (4, 4), voxel index to RAS+ mm of the halfway space.
        transforms: of both visits to the halfway space.
        images: (x, y, z), of both visits, interpolated; outside of a scan its lowest value.
        lesions: (x, y, z), of both visits.
        matched: the lesions of both together.
        centers_mm: (n, 3), RAS+ mm of the later scan.
        locations: of each lesion, such as `deep`, or empty if it lies outside of the brain; none
            if the regions are not known.
        masks: volumes of both masks.
        uncertainty_ml: of their difference.
        protocol_differences: of both scans; if there is any, the uncertainties are wider.
        class_map: (x, y, z) on the grid of the later scan; numbers of classes.
        similarity: of both images, 0 to 1, in the brain if it is known; see `shared_information`.
        spacing_mm: of the voxels of the halfway space.
        warnings: what to be careful with.
    """

    affine: Affine
    transforms: HalfwayTransforms
    images: tuple[Floats, Floats]
    lesions: tuple[Mask, Mask]
    matched: MatchedLesions
    centers_mm: NDArray[np.float64]
    locations: Sequence[str]
    masks: tuple[MaskVolumes, MaskVolumes]
    uncertainty_ml: float
    protocol_differences: tuple[str, ...]
    class_map: NDArray[np.uint8]
    similarity: float
    spacing_mm: float
    warnings: tuple[str, ...]

    @property
    def change_ml(self) -> float:
        """From the earlier volume to the later one."""
        before, after = self.masks
        return after.total_ml - before.total_ml


def measure_interval(
    before: VisitImages, after: VisitImages, transforms: HalfwayTransforms | None = None
) -> IntervalChange:
    """Compare two visits.

    Args:
        before: the earlier visit.
        after: the later one.
        transforms: to the halfway space; None: the scans are registered.

    Raises:
        InputError: the scans cannot be registered, or have no voxel in common.
    """
    if transforms is None:
        transforms = find_halfway(before.scan, after.scan)
    visits = (before, after)
    brought = bring_visits(visits, transforms)
    spacing_mm = brought.grid.spacing_mm[0]
    differences = tuple(protocol_differences(*visits))
    boundary = TWO_PROTOCOLS if differences else ONE_PROTOCOL
    matched = match_lesions(*brought.lesions, spacing_mm, boundary, brought.levels)
    to_later = inverse_of(transforms.after) @ brought.grid.affine
    similarity = shared_information(*brought.images, brought.tissue)
    masks = measure_masks(
        visits, transforms, matched.labels, brought.grid.affine, len(matched.before_mm3)
    )
    surface_mm2 = max(matched.before_mm2.sum(), matched.after_mm2.sum())
    return IntervalChange(
        affine=brought.grid.affine,
        transforms=transforms,
        images=brought.images,
        lesions=brought.lesions,
        matched=matched,
        centers_mm=apply_affine(to_later, matched.centers_vox),
        locations=_locations(matched, brought),
        masks=masks,
        uncertainty_ml=boundary.total_ml(float(surface_mm2)),
        protocol_differences=differences,
        class_map=matched.class_numbers[masks[1].labels],
        similarity=similarity,
        spacing_mm=spacing_mm,
        warnings=tuple(doubts(visits, transforms, brought, similarity, differences)),
    )


def _locations(matched: MatchedLesions, brought: BroughtVisits) -> list[str]:
    """Return where most of each lesion lies; nothing if it is not known.

    It is where it lies in the later scan, or in the earlier one if it is not there any more.
    """
    count = len(matched.before_mm3)
    if brought.locations is None or not count:
        return []
    shape = count + 1, len(LOCATIONS) + 1  # 0: outside of lesions, or of the brain
    before, after = (
        count_pairs(np.where(mask, matched.labels, 0), located, shape)[1:, 1:]
        for mask, located in zip(brought.lesions, brought.locations, strict=True)
    )
    tally = np.where(matched.after_mm3[:, None] > 0, after, before)
    return [LOCATIONS[row.argmax()] if row.any() else "" for row in tally]
