"""Measure the accuracy of masks in every backend and precision.

Scans are segmented as in `wmh-infer`, files to files, and scored as in `wmh-eval`.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from wmh_bench.environment import Environment, Model
from wmh_bench.intensity_threshold import best_threshold_dice
from wmh_runtime.bundle.accuracy import LoadAccuracy
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cohort.job import Job, Progress
from wmh_runtime.cohort.local_engine import LocalEngine
from wmh_runtime.cohort.run import run
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import Discovery, discover
from wmh_runtime.errors import (
    DeviceLostError,
    InputError,
    InterruptionError,
    NoGpuError,
    NotInstalledError,
    WmhError,
)
from wmh_runtime.evaluation.pairing import find_pairs
from wmh_runtime.evaluation.scan_of_pair import match_scans
from wmh_runtime.evaluation.scoring import score
from wmh_runtime.evaluation.statistics import Average, Group, ScoredCase, evaluate
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.inference.backend_factory import BackendOptions
from wmh_runtime.inference.backend_selection import open_backends
from wmh_runtime.machine import available_cores
from wmh_runtime.outputs.paths import output_paths
from wmh_runtime.phantom.cohort import ACCURACY_SEED, Plan, plan_cohort, write_cohort
from wmh_runtime.precision import Precision
from wmh_runtime.schema import StrictModel
from wmh_runtime.text import count_noun
from wmh_runtime.tta import Tta, first_views

HELD_OUT_SUBJECTS = 12
HELD_OUT_LOADS_ML = (1.0, 40.0)
HELD_OUT_NAME = f"{HELD_OUT_SUBJECTS} phantoms that no training saw"


@dataclass(frozen=True)
class AnnotatedData:
    """Scans with reference masks."""

    name: str  # for the result
    scans: Path
    references: Path
    are_phantoms: bool = False


class MetricSummary(StrictModel):
    """One metric over all scans. None: no scan has a value."""

    mean: float | None
    median: float | None
    low: float | None = Field(description="95 % confidence interval of the mean, by subjects")
    high: float | None
    count: int = Field(description="number of scans with a value")

    @classmethod
    def from_average(cls, average: Average) -> MetricSummary:
        """Round an average of the evaluation."""
        return cls(
            mean=_rounded(average.mean),
            median=_rounded(average.median),
            low=_rounded(average.low),
            high=_rounded(average.high),
            count=average.with_value,
        )


class CaseAccuracy(StrictModel):
    """The accuracy of one mask."""

    name: str = Field(description="name of the phantom; a number if scans may be of patients")
    site: str = Field(description="site of the phantom; empty if scans may be of patients")
    reference_ml: float
    volume_ml: float
    dice: float | None = Field(description="null if both masks are empty")


class AccuracyRow(StrictModel):
    """The accuracy in one backend and precision."""

    backend: str
    backend_description: str = Field(description="library, version and device")
    device: str
    precision: Precision
    tta: Tta
    metrics: dict[str, MetricSummary] = Field(
        description="by name: the metrics of the WMH challenge, and others of wmh-eval"
    )
    volume_r_squared: float | None
    volume_bias_ml: float
    by_load: list[LoadAccuracy] = Field(default=[])
    cases: list[CaseAccuracy]


class Accuracy(StrictModel):
    """The result of `wmh-bench accuracy`."""

    schema_version: Literal[2] = 2
    kind: Literal["accuracy"] = "accuracy"
    environment: Environment
    data: str = Field(description="description of the scans")
    scans: int
    threshold_dice: dict[str, float] = Field(
        description="by phantom: the Dice of the best intensity threshold, chosen with the"
        " reference mask"
    )
    rows: list[AccuracyRow]
    skipped: dict[str, str] = Field(description="what could not be measured, with the reason")

    def row(self, backend: str, precision: Precision) -> AccuracyRow:
        """Return the row of a backend and precision."""
        (found,) = (r for r in self.rows if (r.backend, r.precision) == (backend, precision))
        return found


def held_out_phantoms() -> list[Plan]:
    """Plan the twelve phantoms: lesion loads of 1 to 40 mL, the three sites alternate."""
    return plan_cohort(HELD_OUT_SUBJECTS, ACCURACY_SEED, HELD_OUT_LOADS_ML)


@contextmanager
def temporary_phantoms(
    plans: Sequence[Plan], on_phantom: Callable[[], None]
) -> Iterator[AnnotatedData]:
    """Write phantoms to a temporary folder for the duration of the block."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cohort(plans, folder, workers=available_cores(), on_written=on_phantom)
        yield AnnotatedData(HELD_OUT_NAME, folder, folder, are_phantoms=True)


def measure_accuracy(
    bundle: Bundle,
    data: AnnotatedData,
    backend_precisions: Iterable[tuple[str, Precision]],
    tta: Tta,
    on_scan: Callable[[], None],
    on_result: Callable[[Accuracy], None],
) -> Accuracy:
    """Segment and score annotated scans in several backends and precisions, one after another.

    Args:
        bundle: of FLAIR with the single output `wmh`.
        data: annotated scans.
        backend_precisions: names of backends, each with a precision.
        tta: views of each slice.
        on_scan: called after each scan.
        on_result: called after each backend and precision with the result so far.

    Raises:
        InputError: the bundle segments something else, or a scan or reference cannot be used.
    """
    manifest = bundle.manifest
    if [output.name for output in manifest.outputs] != ["wmh"] or manifest.channels != ["flair"]:
        advice = "Give a bundle that segments WMH in FLAIR."
        raise InputError("is not a FLAIR-to-WMH bundle", advice, about=bundle.folder)
    cases = discover(data.scans).scans
    unsegmented = _references_without_scan(cases, data.references)
    result = Accuracy(
        environment=Environment.describe(Model.from_bundle(bundle)),
        data=data.name,
        scans=len(cases),
        threshold_dice={},
        rows=[],
        skipped={},
    )
    if unsegmented:
        result.skipped["references without a scan"] = count_noun(len(unsegmented), "reference")
    missing_backends: set[str] = set()
    for backend, precision in backend_precisions:
        if backend in missing_backends:
            continue
        with tempfile.TemporaryDirectory() as name:
            out = Path(name)
            try:
                row, unpaired = _measure(bundle, cases, data, out, backend, precision, tta, on_scan)
            except (NotInstalledError, NoGpuError) as error:
                missing_backends.add(backend)
                result.skipped[backend] = f"{error.problem}. {error.remedy}"
            except (DeviceLostError, InputError, InterruptionError):
                raise
            except WmhError as error:
                result.skipped[f"{backend} {precision}"] = error.problem
            else:
                result.rows.append(row)
                if unpaired:
                    result.skipped["scans without a reference"] = count_noun(len(unpaired), "scan")
                if data.are_phantoms and not result.threshold_dice:
                    result.threshold_dice.update(_threshold_dice(data, cases, out))
        on_result(result)
    return result


def _references_without_scan(cases: Sequence[Case], references: Path) -> tuple[Path, ...]:
    """Pair scans and references by the names that the masks will have, before a scan is segmented.

    Raises:
        InputError: no reference belongs to a scan, or a reference to several.
    """
    with tempfile.TemporaryDirectory() as name:
        for case in cases:
            mask = output_paths(Path(name), case.relative, "wmh").mask
            mask.parent.mkdir(parents=True, exist_ok=True)
            mask.touch()
        try:
            return find_pairs(Path(name), references, allow_missing=True).without_prediction
        except InputError as error:
            if not str(error.about).startswith(name):
                raise
            problem = "contains no reference mask whose name is that of a scan"
            advice = "Name a mask as its scan: sub-1_label-WMH_mask.nii.gz for sub-1_FLAIR.nii.gz."
            raise InputError(problem, advice, about=references) from error


class _ScanCounter(Progress):
    def __init__(self, on_scan: Callable[[], None]) -> None:
        self._on_scan = on_scan

    def done(self, *_: object, **__: object) -> None:
        self._on_scan()


def _measure(
    bundle: Bundle,
    cases: Sequence[Case],
    data: AnnotatedData,
    out: Path,
    backend: str,
    precision: Precision,
    tta: Tta,
    on_scan: Callable[[], None],
) -> tuple[AccuracyRow, tuple[Path, ...]]:
    """Measure one backend and precision. Return its row, and the masks without a reference."""
    job = Job(Discovery(tuple(cases)), out, bundle, bundle.manifest.outputs_of(tta), tta=tta)
    options = BackendOptions(views=first_views(tta), precision=precision)
    with open_backends(bundle, backend, options) as opened:
        (device,) = opened.backends
        outcome = run(job, LocalEngine([device]), _ScanCounter(on_scan))
    for _, error in outcome.failed:
        raise error
    pairing = find_pairs(out, data.references, allow_missing=True)
    scores = score(pairing.pairs, lambda: None, out)
    for _, error in scores.failed:
        raise error
    evaluation = evaluate(scores.cases)
    row = AccuracyRow(
        backend=backend,
        backend_description=device.description,
        device=device.device,
        precision=precision,
        tta=tta,
        metrics={
            name: MetricSummary.from_average(average)
            for name, average in evaluation.overall.averages.items()
        },
        volume_r_squared=_rounded(evaluation.volumes.r_squared),
        volume_bias_ml=round(evaluation.volumes.bias_ml, 3),
        by_load=[_load_accuracy(group) for group in evaluation.by_band],
        cases=[_case_accuracy(case, i, data) for i, case in enumerate(scores.cases, start=1)],
    )
    return row, pairing.without_reference


def _load_accuracy(group: Group) -> LoadAccuracy:
    means = {name: _rounded(average.mean) for name, average in group.averages.items()}
    fields = LoadAccuracy.model_fields.keys() & means.keys()
    return LoadAccuracy(
        load=group.name,
        scans=group.count,
        volume_bias_ml=round(group.volumes.bias_ml, 3),
        **{name: means[name] for name in fields},
    )


def _case_accuracy(case: ScoredCase, number: int, data: AnnotatedData) -> CaseAccuracy:
    return CaseAccuracy(
        name=case.name if data.are_phantoms else str(number),
        site=case.site if data.are_phantoms else "",
        reference_ml=round(case.metrics.reference_ml, 3),
        volume_ml=round(case.metrics.prediction_ml, 3),
        dice=_rounded(case.metrics.dice),
    )


def _threshold_dice(data: AnnotatedData, cases: Sequence[Case], out: Path) -> dict[str, float]:
    """Return the Dice of the best intensity threshold of each phantom."""
    pairs = find_pairs(out, data.references, allow_missing=True).pairs
    scan_of = match_scans(pairs, cases)
    best_dice = {}
    for pair in pairs:
        scan = read_scan(scan_of[pair.name])
        reference = read_scan(pair.reference, allow_constant=True).voxels > 0
        dice = best_threshold_dice(scan.voxels, reference, scan.voxel_volume_mm3)
        best_dice[pair.name] = round(dice, 4)
    return best_dice


def mean_dice(row: AccuracyRow) -> float:
    """Return the mean Dice of all scans that have one."""
    return float(np.mean([case.dice for case in row.cases if case.dice is not None]))


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
