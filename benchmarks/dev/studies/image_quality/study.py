"""Measure image quality in clean scans, and in the same scans with artifacts of known strength.

Lesions and regions are found in every damaged scan anew, as in a run: an artifact that misleads the
network may hide itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchmarks.dev.studies.image_quality.artifacts import ARTIFACTS
from benchmarks.dev.studies.image_quality.cuts import CUTS_MM, SIDES, cut_off
from wmh_bench.environment import source_commit
from wmh_runtime.image_quality.measure import QualityMeasure
from wmh_runtime.image_quality.quality import measure_quality
from wmh_runtime.image_quality.slices import Slices
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.imageio.volume import Scan, scan_from_array
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.phantom.head import generate_phantom
from wmh_runtime.phantom.sites import SITES
from wmh_runtime.postprocessing.postprocess import Segmentation
from wmh_runtime.postprocessing.regions import BRAIN
from wmh_runtime.schema import StrictModel
from wmh_runtime.types import Floats

NONE = "none"
EXTRACTED = "brain extraction"  # no artifact, but another kind of scan
CUT = "cut "  # begins the names of cuts
_THICK_MM = 2.0
_FIRST_SEED = 5000
_LOADS_ML = (0.5, 3.0, 8.0, 15.0, 25.0, 40.0, 55.0, 1.0)


class MeasuredScan(StrictModel):
    """The measures of one scan, clean or damaged."""

    scan: str
    artifact: str = Field(description="none, brain extraction, or the artifact that was added")
    strength: float = 0
    values: dict[str, float | None]
    flagged: list[str] = Field(description="names of measures")


class QualityStudy(StrictModel):
    """All measured scans."""

    commit: str = Field(description="of this project")
    scans: list[MeasuredScan]


@dataclass(frozen=True)
class _Base:
    """A clean scan with its segmentation."""

    scan: Scan
    found: Segmentation

    @property
    def slices(self) -> Slices:
        """Its slices, which are axial in all scans of the study."""
        lesions = self.found["wmh"].lesions.labels
        return Slices.of(self.scan, self.found.head, self.found.regions, lesions)


def run_study(
    paths: Sequence[Path],
    phantoms: int,
    every: int,
    segmenter: Segmenter,
    on_scan: Callable[[QualityStudy], None],
) -> QualityStudy:
    """Measure all clean scans, and artifacts in some of them.

    Args:
        paths: of axial FLAIR scans.
        phantoms: of each site.
        every: artifacts are added to each scan whose number is a multiple of this.
        segmenter: with regions.
        on_scan: called after each image with all results so far.
    """
    study = QualityStudy(commit=source_commit(), scans=[])
    for number, scan in enumerate(_clean_scans(paths, phantoms)):
        base = _Base(scan, segmenter.segment(scan))
        for artifact, strength, damaged in _variants(base, is_damaged=number % every == 0):
            found = base.found if artifact == NONE else segmenter.segment(damaged)
            lesions = found["wmh"].lesions.labels
            measures = measure_quality(damaged, found.head, found.regions, lesions)
            study.scans.append(_record(scan.path.name, artifact, strength, measures))
            on_scan(study)
    return study


def _clean_scans(paths: Sequence[Path], phantoms: int) -> Iterator[Scan]:
    for path in paths:
        yield read_scan(path)
    for site in SITES:
        for index in range(phantoms):
            load_ml = _LOADS_ML[index % len(_LOADS_ML)]
            phantom = generate_phantom(_FIRST_SEED + index, site, load_ml)
            yield scan_from_array(phantom.image, phantom.affine, f"phantom_{site}_{index}")


def _variants(base: _Base, *, is_damaged: bool) -> Iterator[tuple[str, float, Scan]]:
    """Yield names, strengths and scans: clean, brain-extracted, with artifacts, and cut."""
    yield NONE, 0, base.scan
    brain = base.found.regions[BRAIN]
    yield EXTRACTED, 0, replace(base.scan, voxels=np.where(brain, base.scan.voxels, np.float32(0)))
    if not is_damaged:
        return
    slices = base.slices
    for name, artifact in ARTIFACTS.items():
        if artifact.only_thick_slices and slices.spacing_mm[0] < _THICK_MM:
            continue
        for strength in artifact.strengths:
            stack = artifact.apply(slices, strength, _generator(base.scan, name))
            yield name, strength, replace(base.scan, voxels=_to_scan(base.scan, stack))
    for side in SIDES:
        for mm in CUTS_MM:
            yield CUT + side, mm, cut_off(base.scan, brain, side, mm)


def _generator(scan: Scan, artifact: str) -> np.random.Generator:
    """Return the generator of an artifact; all its strengths have the same one."""
    return np.random.default_rng(zlib.crc32(f"{scan.path.name} {artifact}".encode()))


def _to_scan(scan: Scan, stack: Floats) -> NDArray[np.float32]:
    volume = axial_reorientation(scan.affine).undo(stack)
    return np.asfortranarray(volume, np.float32)


def _record(
    name: str, artifact: str, strength: float, measures: Sequence[QualityMeasure]
) -> MeasuredScan:
    values = {one.name: None if one.value is None else round(one.value, 3) for one in measures}
    flagged = [one.name for one in measures if one.is_flagged]
    return MeasuredScan(
        scan=name, artifact=artifact, strength=strength, values=values, flagged=flagged
    )
