"""Check a bundle on annotated scans: accuracy, invariance, thickness, regions and speed.

Its results say whether the bundled model is fit to be shipped. Scans come from a table as for
`wmh-train`, with the columns `name`, `site`, `flair`, `wmh` and, where there are masks, regions.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchmarks.dev.thick_slices import is_isotropic, with_thick_slices
from wmh_bench.environment import Environment
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.evaluation.metrics import compare_masks
from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.imageio.reference_masks import Reference
from wmh_runtime.imageio.volume import Scan, scan_from_array
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.postprocessing.locations import LOCATIONS, locate
from wmh_runtime.postprocessing.postprocess import Segmentation
from wmh_runtime.postprocessing.regions import BRAIN
from wmh_runtime.schema import StrictModel
from wmh_runtime.types import Floats, Mask
from wmh_train.data.annotated import AnnotatedScan

Voxels = NDArray[Any]

_OUTPUT = "wmh"
_THICKNESSES_MM = (3.0, 5.0, 7.0)
_PADDING = 12  # voxels


class LocationScore(StrictModel):
    """What is found of the lesions in one location, by the bundle's own regions."""

    reference_ml: float
    found_ml: float = Field(description="of the reference")
    false_ml: float = Field(description="found, but not in the reference")


class ScanScore(StrictModel):
    """The score of one scan, in all views."""

    name: str
    site: str
    volume_ml: float
    reference_ml: float
    dice: float
    h95_mm: float | None
    lesion_recall: float
    lesion_precision: float
    lesion_f1: float
    region_dice: dict[str, float]
    locations: dict[str, LocationScore]
    by_thickness: dict[str, float]
    invariance: dict[str, float]
    warnings: list[str]


class RegionScore(StrictModel):
    """The score of the regions on one head with masks of all regions, in all views."""

    name: str
    dice: dict[str, float]
    brain_error_percent: float
    same_location_percent: float | None


class ModelChecks(StrictModel):
    """All scores of a bundle."""

    environment: Environment
    scans: list[ScanScore]
    regions: list[RegionScore]
    seconds_of_one_scan: float | None


def check_scans(
    bundle: Bundle,
    scans: Sequence[AnnotatedScan],
    on_scan: Callable[[], None],
) -> list[ScanScore]:
    """Score the masks of annotated scans, of the same scans changed, and resliced.

    Args:
        bundle: with an output `wmh`.
        scans: FLAIR scans with reference masks; they may have masks of the bundle's regions.
        on_scan: called after each scan.
    """
    regions, scores = bundle.manifest.regions, []
    with Segmenter.from_bundle(bundle, InferenceOptions()) as segmenter:
        for annotated in scans:
            (scan,), (reference,) = annotated.load()
            result = segmenter.segment(scan)
            metrics = compare_masks(result[_OUTPUT].mask, reference, scan.affine)
            known = zip(regions, annotated.regions, annotated.load_regions(scan), strict=True)
            scores.append(
                ScanScore(
                    name=annotated.name,
                    site=annotated.site,
                    volume_ml=result[_OUTPUT].volume_ml,
                    reference_ml=reference.lesion.sum() * scan.voxel_volume_mm3 / 1000,
                    dice=metrics.dice,
                    h95_mm=metrics.h95_mm if np.isfinite(metrics.h95_mm) else None,
                    lesion_recall=metrics.lesion_recall,
                    lesion_precision=metrics.lesion_precision,
                    lesion_f1=metrics.lesion_f1,
                    region_dice={
                        name: dice_of_masks(result.regions[name], mask.lesion)
                        for name, path, mask in known
                        if path is not None
                    },
                    locations=_by_location(result, reference, scan),
                    by_thickness=dict(_resliced(segmenter, scan, reference)),
                    invariance=dict(_changed(segmenter, scan, result)),
                    warnings=list(result.warnings),
                )
            )
            on_scan()
    return scores


def check_regions(
    bundle: Bundle,
    heads: Sequence[AnnotatedScan],
    on_scan: Callable[[], None],
) -> list[RegionScore]:
    """Compare brain volume, and the locations of the reference's lesions, with true regions.

    Args:
        bundle: if it has no regions, there is nothing to compare.
        heads: those without masks of all regions are left out.
        on_scan: called after each head.
    """
    regions, scores = bundle.manifest.regions, []
    if BRAIN not in regions:
        return []
    with Segmenter.from_bundle(bundle, InferenceOptions()) as segmenter:
        for head in heads:
            on_scan()
            if None in head.regions:
                continue
            (scan,), (reference,) = head.load()
            true = dict(
                zip(regions, [mask.lesion for mask in head.load_regions(scan)], strict=True)
            )
            found = segmenter.segment(scan).regions
            lesions = reference.lesion
            places = [locate(lesions, masks, scan.spacing_mm)[lesions] for masks in (true, found)]
            true_voxels = np.count_nonzero(true[BRAIN])
            scores.append(
                RegionScore(
                    name=head.name,
                    dice={name: dice_of_masks(found[name], true[name]) for name in regions},
                    brain_error_percent=100 * (found[BRAIN].sum() / max(1, true_voxels) - 1),
                    same_location_percent=100 * float(np.mean(places[0] == places[1]))
                    if lesions.any()
                    else None,
                )
            )
    return scores


def time_one_scan(scan: Path, bundle: Bundle, precision: str) -> float:
    """Return the seconds of `wmh-infer` for one scan, from its start to its end; two cores."""
    program = "from wmh_runtime.cli.launcher import infer; infer()"
    seconds = []
    for _ in range(2):  # the first run fills the caches
        with tempfile.TemporaryDirectory() as out:
            options = ("--bundle", bundle.folder, "--precision", precision, "--threads", "2")
            command = [sys.executable, "-c", program, scan, out, *options, "--pattern", scan.name]
            began = time.perf_counter()
            subprocess.run([str(part) for part in command], check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
    return seconds[-1]


def _by_location(
    result: Segmentation, reference: Reference, scan: Scan
) -> dict[str, LocationScore]:
    """Compare the lesions in each location; empty if the bundle has no regions."""
    if not result[_OUTPUT].burden.locations:
        return {}
    found = result[_OUTPUT].mask.astype(np.bool_) & ~reference.ignored
    place = locate(found | reference.lesion, result.regions, scan.spacing_mm)

    def volume_ml(mask: Mask, number: int) -> float:
        return float(np.count_nonzero(mask & (place == number)) * scan.voxel_volume_mm3 / 1000)

    return {
        name: LocationScore(
            reference_ml=volume_ml(reference.lesion, number),
            found_ml=volume_ml(reference.lesion & found, number),
            false_ml=volume_ml(found & ~reference.lesion, number),
        )
        for number, name in enumerate(LOCATIONS, start=1)
    }


def _changed(segmenter: Segmenter, scan: Scan, result: Segmentation) -> Iterator[tuple[str, float]]:
    """Yield the Dice of the mask of a changed scan with that of the scan itself."""
    voxels, affine, mask = scan.voxels, scan.affine, result[_OUTPUT].mask

    def dice_of(changed: Floats, affine: Affine, undo: Callable[[Voxels], Voxels]) -> float:
        segmented = segmenter.segment(scan_from_array(changed, affine))
        return dice_of_masks(undo(segmented[_OUTPUT].mask), mask)

    top = float(np.percentile(voxels, 99))
    yield "scaled", dice_of(3.7 * voxels, affine, lambda found: found)
    yield "shifted", dice_of(voxels + np.float32(0.3 * top), affine, lambda found: found)
    yield "mirrored", dice_of(voxels[::-1], affine, lambda found: found[::-1])
    swap = np.eye(4)[[1, 0, 2, 3]]
    yield "reoriented", dice_of(voxels.swapaxes(0, 1), affine @ swap, lambda m: m.swapaxes(0, 1))
    offset = np.eye(4)
    offset[:2, 3] = -_PADDING
    widths = ((_PADDING, _PADDING), (_PADDING, _PADDING), (0, 0))
    inside = np.s_[_PADDING:-_PADDING, _PADDING:-_PADDING]
    yield "padded", dice_of(np.pad(voxels, widths), affine @ offset, lambda found: found[inside])


def _resliced(
    segmenter: Segmenter, scan: Scan, reference: Reference
) -> Iterator[tuple[str, float]]:
    """Yield the Dice of an isotropic scan after averaging to thicker axial slices."""
    if not is_isotropic(scan):
        return
    for mm in _THICKNESSES_MM:
        thick, thick_reference = with_thick_slices(scan, reference, mm)
        result = segmenter.segment(thick)
        metrics = compare_masks(result[_OUTPUT].mask, thick_reference, thick.affine)
        yield f"{mm:g} mm", metrics.dice
