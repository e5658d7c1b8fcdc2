"""Postprocessing: from network output to lesions on the grid of the scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.postprocessing.burden import Anatomy, Burden, measure_burden
from wmh_runtime.postprocessing.lesions import Lesions, Output, find_lesions, lesions_of_mask
from wmh_runtime.postprocessing.parcellation import Parcellation
from wmh_runtime.postprocessing.plausibility import (
    plausibility_warnings,
    region_warnings,
    symmetry_warnings,
)
from wmh_runtime.postprocessing.regions import (
    BRAIN,
    REGION_THRESHOLD,
    Regions,
    brain_of,
    clean_regions,
)
from wmh_runtime.preprocessing.channels import present_images
from wmh_runtime.preprocessing.preprocess import PreprocessedScan
from wmh_runtime.preprocessing.slices.geometry import SliceGeometry
from wmh_runtime.preprocessing.slices.planes import Plane
from wmh_runtime.types import Floats, Mask, Prediction


@dataclass(frozen=True)
class OutputResult:
    """The result for one output of the network, on the grid of the scan."""

    output: Output  #: with the threshold and the minimum lesion size that were used
    probability: Floats  #: (x, y, z), in [0, 1]
    lesions: Lesions  #: above the threshold, and large enough
    burden: Burden  #: empty if the network predicts no regions

    @property
    def mask(self) -> NDArray[np.uint8]:
        """The lesion mask, (x, y, z), 1 in lesions."""
        return self.lesions.mask

    @property
    def volume_ml(self) -> float:
        """The volume of all lesions."""
        return self.lesions.volume_ml


@dataclass(frozen=True)
class Segmentation:
    """The result for one scan; `segmentation["wmh"]` is the result for the output `wmh`."""

    results: tuple[OutputResult, ...]  #: one for each output of the network
    head: Mask  #: (x, y, z), what is not air
    #: (x, y, z), by name, each made when it is asked for; empty if the network predicts none
    regions: Mapping[str, Mask]
    symmetry: float | None  #: agreement of both halves of the brain; None: not known
    planes: tuple[Plane, ...]  #: in which slices were segmented
    slice_count: int  #: in all planes
    slices_run: int  #: the other slices show no head; their probability is 0
    slices_in_all_views: int  #: with adaptive views: slices that needed more than the first
    warnings: tuple[str, ...]  #: what to be careful with
    atlas: Parcellation | None = None  #: of the user, on the grid of the scan

    def __getitem__(self, name: str) -> OutputResult:
        """Return the result for one output.

        Raises:
            KeyError: the network has no such output.
        """
        by_name = {result.output.name: result for result in self.results}
        return by_name[name]


def postprocess(
    prediction: Prediction,
    preprocessed: PreprocessedScan,
    outputs: Sequence[Output],
    regions: Sequence[str] = (),
    channels: Sequence[str] = ("flair",),
    known_regions: Mapping[str, Mask] | None = None,
    manual_masks: Mapping[str, Mask] | None = None,
) -> Segmentation:
    """Bring probabilities to the grid of the scan, apply thresholds, and find the lesions.

    Args:
        prediction: output of the network, [slices run, K, S, S].
        preprocessed: the scan.
        outputs: the first of the K outputs, with the thresholds and minimum lesion sizes to use.
        regions: names of the other outputs.
        channels: their C names.
        known_regions: (x, y, z), of another network, instead of those of this one.
        manual_masks: (x, y, z), lesions as drawn, by output, instead of those of the network.
    """
    images = present_images(channels, preprocessed.channels)
    is_flair = next(iter(images)) == "flair"
    scan, warnings = preprocessed.scan, list(preprocessed.warnings)
    probabilities, geometry = prediction.probability, preprocessed.geometry
    region_masks = known_regions
    if region_masks is None:
        region_masks = find_regions(probabilities[:, len(outputs) :], geometry, regions)
    about_regions = region_warnings(images, preprocessed.head, region_masks)
    found: list[tuple[Output, Floats, Lesions]] = []
    for k, output in enumerate(outputs):
        probability = geometry.to_scan(probabilities[:, k])  # (x, y, z)
        if (manual := (manual_masks or {}).get(output.name)) is not None:
            lesions = lesions_of_mask(manual, scan.voxel_volume_mm3)
        else:
            lesions = find_lesions(
                probability,
                threshold=output.threshold,
                min_lesion_mm3=output.min_lesion_mm3,
                voxel_volume_mm3=scan.voxel_volume_mm3,
                brain=brain_of(region_masks),
            )
        found.append((output, probability, lesions))
        warnings += plausibility_warnings(
            output.name, scan, preprocessed.head, lesions, is_flair=is_flair
        )
    in_lesions = np.zeros(preprocessed.head.shape, np.bool_)
    for _, _, lesions in found:
        in_lesions |= lesions.labels > 0
    anatomy = Anatomy.of(region_masks, in_lesions, scan.affine) if found else None
    symmetry = anatomy.symmetry if anatomy else None
    warnings += [*about_regions, *symmetry_warnings(symmetry)]
    return Segmentation(
        results=tuple(
            OutputResult(output, probability, lesions, measure_burden(lesions, anatomy))
            for output, probability, lesions in found
        ),
        head=preprocessed.head,
        regions=region_masks,
        symmetry=symmetry,
        planes=tuple(one.plane for one in geometry.planes),
        slice_count=preprocessed.slice_count,
        slices_run=sum(preprocessed.slices_by_plane),
        slices_in_all_views=prediction.slices_in_all_views,
        warnings=tuple(warnings),
    )


def find_regions(
    probabilities: Floats, geometry: SliceGeometry, regions: Sequence[str]
) -> Mapping[str, Mask]:
    """Return the brain, and for each other region the voxels where it is the most probable one.

    Args:
        probabilities: of the regions, (n, K, S, S).
        geometry: of the scan.
        regions: their K names.
    """
    if not regions:
        return {}
    parts = [k for k, name in enumerate(regions) if name != BRAIN]
    numbers = geometry.to_scan_numbers(probabilities, REGION_THRESHOLD, parts)
    found = Regions(tuple(regions), numbers)
    if BRAIN not in regions:
        return clean_regions(found, None)
    of_brain = [regions.index(BRAIN)]
    brain = geometry.to_scan_numbers(probabilities, REGION_THRESHOLD, of_brain) > 0
    return clean_regions(found, brain)
