"""Segment the scans of a head, compare the first with each other one, and keep what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import Field

from benchmarks.dev.studies.rescans.heads import HeadScan
from wmh_runtime.change.pair.halfway import HalfwayTransforms, find_halfway
from wmh_runtime.change.pair.interval import IntervalChange, measure_interval
from wmh_runtime.change.pair.rigid import inverse_of
from wmh_runtime.change.visits import BrainRegions, VisitImages, level_map
from wmh_runtime.imageio.regrid import nearest_on_grid
from wmh_runtime.imageio.volume import Scan, scan_from_array
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.postprocessing.regions import Regions
from wmh_runtime.schema import StrictModel
from wmh_runtime.types import Mask


class FoundLesion(StrictModel):
    """A lesion of two scans."""

    before_mm3: float
    after_mm3: float
    before_mm2: float
    after_mm2: float
    shared_level: float


class TrueLesion(StrictModel):
    """A lesion of a head with true changes."""

    before_mm3: float
    after_mm3: float
    found: list[int] = Field(description="indices of the found lesions that overlap with it")


class PairRecord(StrictModel):
    """What was found in two scans of a head."""

    head: str
    scenario: str
    volumes_ml: tuple[float, float] = Field(description="of the masks")
    true_ml: tuple[float, float]
    moved_mm: float
    moved_degrees: float
    disagreement_mm: float = Field(description="of both directions of the registration")
    similarity: float
    warnings: list[str]
    is_one_protocol: bool = Field(description="as far as the files say it")
    found: list[FoundLesion]
    true: list[TrueLesion] = Field(description="empty without true changes")


def measure_head(
    name: str, scans: Mapping[str, HeadScan], segmenter: Segmenter
) -> Iterator[PairRecord]:
    """Compare the first scan of a head with each other one."""
    visits = {scenario: _segment(scan, segmenter) for scenario, scan in scans.items()}
    first = visits.pop("first")
    for scenario, visit in visits.items():
        transforms = find_halfway(first.scan, visit.scan)
        change = measure_interval(first, visit, transforms)
        matched, scan = change.matched, scans[scenario]
        volumes = (matched.before_mm3, matched.after_mm3)
        columns = (*volumes, matched.before_mm2, matched.after_mm2, matched.shared_level)
        voxel_ml = visit.scan.voxel_volume_mm3 / 1000
        yield PairRecord(
            head=name,
            scenario=scenario,
            volumes_ml=(first.volume_ml, visit.volume_ml),
            true_ml=(
                float(np.count_nonzero(scan.before) * voxel_ml),
                float(np.count_nonzero(scan.lesions) * voxel_ml),
            ),
            moved_mm=transforms.mm,
            moved_degrees=transforms.degrees,
            disagreement_mm=transforms.disagreement_mm,
            similarity=change.similarity,
            warnings=list(change.warnings),
            is_one_protocol=not change.protocol_differences,
            found=[
                FoundLesion(
                    before_mm3=a, after_mm3=b, before_mm2=c, after_mm2=d, shared_level=level
                )
                for a, b, c, d, level in zip(*(one.tolist() for one in columns), strict=True)
            ],
            true=_true_lesions(scan, visit.scan, change) if scenario == "changed" else [],
        )


def _segment(scan: HeadScan, segmenter: Segmenter) -> VisitImages:
    image = scan_from_array(scan.image, scan.affine)
    segmentation = segmenter.segment(image)
    result = segmentation["wmh"]
    lesions = result.mask > 0
    level = level_map(lesions, result.probability, result.output.threshold)
    regions = None
    if segmentation.regions:
        names = dict(enumerate(segmentation.regions, start=1))
        regions = BrainRegions(Regions.of(segmentation.regions).numbers.astype(np.uint16), names)
    return VisitImages(image, lesions, level, regions)


def _true_lesions(scan: HeadScan, grid: Scan, change: IntervalChange) -> list[TrueLesion]:
    """Match the true lesions, which are in one position, and find what overlaps with each."""
    before, after = (
        VisitImages(grid, mask, mask.astype(np.float32), None)
        for mask in (scan.before, scan.lesions)
    )
    still = HalfwayTransforms(np.eye(4), np.eye(4), 0.0, 0.0, 0.0)
    true = measure_interval(before, after, still)
    to_later = inverse_of(change.transforms.after)
    found = nearest_on_grid(change.matched.labels, to_later @ change.affine, grid)
    labels = nearest_on_grid(true.matched.labels, true.affine, grid)
    return [
        TrueLesion(
            before_mm3=float(before_mm3),
            after_mm3=float(after_mm3),
            found=_overlapping(found, labels == number),
        )
        for number, (before_mm3, after_mm3) in enumerate(
            zip(true.matched.before_mm3, true.matched.after_mm3, strict=True), start=1
        )
    ]


def _overlapping(found: np.ndarray, lesion: Mask) -> list[int]:
    numbers = np.unique(found[lesion])
    return [int(number) - 1 for number in numbers if number]
