"""Lesions by region of the user's own atlas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wmh_runtime.postprocessing.parcellation import Parcellation, measure_parcellation
from wmh_runtime.postprocessing.postprocess import OutputResult, Segmentation
from wmh_runtime.postprocessing.regions import brain_of

_LEAST_COVERED = 0.5  # of the brain, or of the head if the brain is not known


def with_atlas(
    segmentation: Segmentation, atlas: Parcellation, voxel_volume_mm3: float
) -> Segmentation:
    """Add an atlas and the lesions in each region of it; warn if it covers little of the brain.

    Args:
        segmentation: of a scan.
        atlas: on the grid of the scan. Left and right are regions of their own.
        voxel_volume_mm3: of the scan.
    """
    brain = brain_of(segmentation.regions)
    of_brain, inside = ("brain", brain) if brain is not None else ("head", segmentation.head)
    labeled = inside & atlas.numbers.astype(np.bool_)
    covered = int(np.count_nonzero(labeled)) / max(1, int(np.count_nonzero(inside)))
    warnings = segmentation.warnings
    if covered < _LEAST_COVERED:
        warnings = (
            f"the atlas covers {covered:.0%} of the {of_brain}: check that it is in the space of"
            " the scan",
            *warnings,
        )

    def measured(result: OutputResult) -> OutputResult:
        found = measure_parcellation(result.lesions, atlas, None, voxel_volume_mm3 / 1000)
        burden = replace(
            result.burden,
            loads=[*result.burden.loads, *found.loads],
            atlas_of_lesions=found.of_lesions,
        )
        return replace(result, burden=burden)

    return replace(
        segmentation,
        results=tuple(map(measured, segmentation.results)),
        atlas=atlas,
        warnings=warnings,
    )
