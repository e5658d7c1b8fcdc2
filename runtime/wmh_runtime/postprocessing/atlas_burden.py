"""Lesions by region of the user's own atlas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import cc3d
import numpy as np

from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.postprocessing.parcellation import (
    ATLAS_SCHEME,
    NO_REGION,
    Parcellation,
    measure_parcellation,
)
from wmh_runtime.postprocessing.postprocess import OutputResult, Segmentation
from wmh_runtime.postprocessing.regions import brain_of

_LEAST_INSIDE = 0.8  # of the atlas, in the brain, or in the head if the brain is not known
_MOST_OUTSIDE, _ENOUGH_ML = 0.5, 1.0  # of the lesions, in no region of the atlas
_LEFT_WORDS, _RIGHT_WORDS = {"left", "lh", "l"}, {"right", "rh", "r"}  # in names of regions


def with_atlas(segmentation: Segmentation, atlas: Parcellation, scan: Scan) -> Segmentation:
    """Add an atlas and the lesions in each region of it; warn if it does not fit the scan.

    Args:
        segmentation: of the scan.
        atlas: on the grid of the scan. Left and right are regions of their own.
        scan: the first channel.
    """
    voxel_ml = scan.voxel_volume_mm3 / 1000

    def measured(result: OutputResult) -> OutputResult:
        found = measure_parcellation(result.lesions, atlas, None, voxel_ml)
        burden = replace(
            result.burden,
            loads=[*result.burden.loads, *found.loads],
            atlas_of_lesions=found.of_lesions,
        )
        return replace(result, burden=burden)

    results = tuple(map(measured, segmentation.results))
    warnings = (
        *_place_warnings(segmentation, atlas),
        *_side_warnings(atlas, scan.affine),
        *(line for result in results for line in _outside_warnings(result)),
    )
    return replace(
        segmentation, results=results, atlas=atlas, warnings=(*warnings, *segmentation.warnings)
    )


def _place_warnings(segmentation: Segmentation, atlas: Parcellation) -> Iterator[str]:
    """Warn if much of the atlas is outside the brain."""
    brain = brain_of(segmentation.regions)
    of_brain, inside = ("brain", brain) if brain is not None else ("head", segmentation.head)
    labeled = atlas.numbers > 0
    share = int(np.count_nonzero(inside & labeled)) / max(1, int(np.count_nonzero(labeled)))
    if share < _LEAST_INSIDE:
        yield (
            f"{share:.0%} of the atlas is in the {of_brain}, expected {_LEAST_INSIDE:.0%} or more:"
            " check that it is in the space of the scan, or give its transform"
        )


def _side_warnings(atlas: Parcellation, affine: Affine) -> Iterator[str]:
    """Warn if the regions named left are to the right of those named right."""
    left_mm, right_mm = (_middle_mm(atlas, words, affine) for words in (_LEFT_WORDS, _RIGHT_WORDS))
    if left_mm > right_mm:
        yield (
            f"the left regions of the atlas are {left_mm - right_mm:.0f} mm to the right of its"
            " right regions: check its orientation and its names"
        )


def _middle_mm(atlas: Parcellation, words: set[str], affine: Affine) -> float:
    """Return the mean position from left to right of regions with a word in the name, or NaN."""
    numbers = [
        number
        for number, name in atlas.names.items()
        if words & {*re.split("[^a-z]+", name.lower())}
    ]
    inside = np.isin(atlas.numbers, numbers)
    centers = cc3d.statistics(inside.view(np.uint8))["centroids"][1:]  # none if it is empty
    return float(affine[0, :3] @ centers[0] + affine[0, 3]) if len(centers) else np.nan


def _outside_warnings(result: OutputResult) -> Iterator[str]:
    """Warn if most of the lesion volume is in no region."""
    outside_ml = sum(
        load.lesion_ml
        for load in result.burden.loads
        if load.scheme == ATLAS_SCHEME and load.region == NO_REGION
    )
    if result.volume_ml >= _ENOUGH_ML and outside_ml > _MOST_OUTSIDE * result.volume_ml:
        yield (
            f"{result.output.name}: {outside_ml / result.volume_ml:.0%} of the lesion volume is in"
            " no region of the atlas: check its place"
        )
