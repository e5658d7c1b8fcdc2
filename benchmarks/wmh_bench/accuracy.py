"""How good masks are in each precision and by each backend, so that no speed is without its price.

Scans are segmented as `wmh-infer` does it, files to files, and judged as `wmh-eval` does it.
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

from wmh_bench.environment import Circumstances, Model
from wmh_bench.intensity_threshold import best_threshold_dice
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cohort.runner import Job, Progress, run
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.errors import (
    DeviceLostError,
    InputError,
    InterruptionError,
    NoGpuError,
    NotInstalledError,
    WmhError,
)
from wmh_runtime.evaluation.pairing import find_pairs, match_scans
from wmh_runtime.evaluation.scoring import score
from wmh_runtime.evaluation.statistics import Average, evaluate
from wmh_runtime.evaluation.statistics import Case as EvaluatedCase
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.inference.backend_selection import BackendOptions, open_backends
from wmh_runtime.machine import available_cores
from wmh_runtime.phantom.cohort import ACCURACY_SEED, Plan, plan_cohort, write_cohort
from wmh_runtime.precision import Precision
from wmh_runtime.schema import StrictModel
from wmh_runtime.text import count_noun
from wmh_runtime.tta import Tta, first_views

HELD_OUT_SUBJECTS = 12
HELD_OUT_LOADS_ML = (1.0, 40.0)
NO_OUTPUT = Path(tempfile.gettempdir(), "wmh-bench-writes-nothing-here")  # of `discover`
HELD_OUT = f"{HELD_OUT_SUBJECTS} phantoms that no training saw"


@dataclass(frozen=True)
class Data:
    """Annotated scans."""

    name: str  # for people
    scans: Path
    references: Path
    are_phantoms: bool = False


class Figure(StrictModel):
    """One metric over all scans; None where no scan has a value."""

    mean: float | None
    median: float | None
    low: float | None = Field(description="95 % confidence interval of the mean, by persons")
    high: float | None
    counted: int

    @classmethod
    def of(cls, average: Average) -> Figure:
        """Round one of the evaluation's."""
        return cls(
            mean=_rounded(average.mean),
            median=_rounded(average.median),
            low=_rounded(average.low),
            high=_rounded(average.high),
            counted=average.counted,
        )


class CaseAccuracy(StrictModel):
    """One scan."""

    name: str = Field(description="of a phantom; a number where scans may be of patients")
    site: str = Field(description="of a phantom; empty of others")
    reference_ml: float
    volume_ml: float
    dice: float | None = Field(description="null where both masks are empty")


class AccuracyRow(StrictModel):
    """One way to execute the bundle, judged."""

    backend: str
    executes: str = Field(description="the backend with its version, and the device")
    device: str
    precision: Precision
    tta: Tta
    metrics: dict[str, Figure] = Field(description="of the WMH challenge, and more")
    volume_r_squared: float | None
    volume_bias_ml: float
    cases: list[CaseAccuracy]


class Accuracy(StrictModel):
    """The measurement."""

    schema_version: Literal[1] = 1
    kind: Literal["accuracy"] = "accuracy"
    circumstances: Circumstances
    data: str
    scans: int
    threshold_dice: dict[str, float] = Field(
        description="by phantom: of the best intensity threshold, chosen against the truth"
    )
    rows: list[AccuracyRow]
    skipped: dict[str, str] = Field(description="what could not be measured, and why")

    def row(self, backend: str, precision: Precision) -> AccuracyRow:
        """Return one of the rows."""
        (found,) = (r for r in self.rows if (r.backend, r.precision) == (backend, precision))
        return found


def held_out_phantoms() -> list[Plan]:
    """Plan the twelve phantoms: 1 to 40 mL, the three sites in turn."""
    return plan_cohort(HELD_OUT_SUBJECTS, ACCURACY_SEED, HELD_OUT_LOADS_ML)


@contextmanager
def written(plans: Sequence[Plan], on_phantom: Callable[[], None]) -> Iterator[Data]:
    """Write phantoms for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cohort(plans, folder, workers=available_cores(), on_written=on_phantom)
        yield Data(HELD_OUT, folder, folder, are_phantoms=True)


def measure_accuracy(
    bundle: Bundle,
    data: Data,
    ways: Iterable[tuple[str, Precision]],
    tta: Tta,
    on_scan: Callable[[], None],
    on_result: Callable[[Accuracy], None],
) -> Accuracy:
    """Segment annotated scans in all ways, one after another.

    Args:
        bundle: with the single output `wmh`, of FLAIR.
        data: whose scans all have a reference.
        ways: backends and precisions.
        tta: views of each slice.
        on_scan: called after each scan.
        on_result: is told, after each way, what there is so far.

    Raises:
        InputError: the bundle segments something else, or scans or references cannot be used.
    """
    manifest = bundle.manifest
    if [output.name for output in manifest.outputs] != ["wmh"] or manifest.channels != ["flair"]:
        raise InputError("is not a FLAIR-to-WMH bundle", "Give one.", about=bundle.folder)
    scans = discover(data.scans, NO_OUTPUT).scans
    measured = Accuracy(
        circumstances=Circumstances.of(Model.of(bundle)),
        data=data.name,
        scans=len(scans),
        threshold_dice={},
        rows=[],
        skipped={},
    )
    absent: set[str] = set()
    for backend, precision in ways:
        if backend in absent:
            continue
        with tempfile.TemporaryDirectory() as out:
            try:
                row, alone = _row(bundle, scans, data, Path(out), backend, precision, tta, on_scan)
            except (NotInstalledError, NoGpuError) as error:
                absent.add(backend)
                measured.skipped[backend] = f"{error.problem}. {error.remedy}"
            except (DeviceLostError, InputError, InterruptionError):
                raise
            except WmhError as error:
                measured.skipped[f"{backend} {precision}"] = error.problem
            else:
                measured.rows.append(row)
                if alone:
                    measured.skipped["scans without a reference"] = count_noun(len(alone), "scan")
                if data.are_phantoms and not measured.threshold_dice:
                    measured.threshold_dice.update(_threshold_dice(data, scans, Path(out)))
        on_result(measured)
    return measured


class _Telling(Progress):
    def __init__(self, on_scan: Callable[[], None]) -> None:
        self._on_scan = on_scan

    def done(self, *_: object, **__: object) -> None:
        self._on_scan()


def _row(
    bundle: Bundle,
    scans: Sequence[Case],
    data: Data,
    out: Path,
    backend: str,
    precision: Precision,
    tta: Tta,
    on_scan: Callable[[], None],
) -> tuple[AccuracyRow, tuple[Path, ...]]:
    """Return one way, judged, and the masks that no reference is for."""
    job = Job(scans, out, bundle, bundle.manifest.outputs_of(tta), tta=tta)
    wanted = BackendOptions(views=first_views(tta), precision=precision)
    with open_backends(bundle, backend, wanted) as opened:
        (device,) = opened.backends
        outcome = run(job, [device], _Telling(on_scan))
    for _, error in outcome.failed:
        raise error
    pairing = find_pairs(out, data.references)
    scores = score(pairing.pairs, on_pair=lambda: None)
    for _, error in scores.failed:
        raise error
    evaluation = evaluate(scores.cases)
    row = AccuracyRow(
        backend=backend,
        executes=device.description,
        device=device.device,
        precision=precision,
        tta=tta,
        metrics={name: Figure.of(one) for name, one in evaluation.overall.averages.items()},
        volume_r_squared=_rounded(evaluation.volumes.r_squared),
        volume_bias_ml=round(evaluation.volumes.bias_ml, 3),
        cases=[_case(case, i, data) for i, case in enumerate(scores.cases, start=1)],
    )
    return row, pairing.spare


def _case(case: EvaluatedCase, number: int, data: Data) -> CaseAccuracy:
    return CaseAccuracy(
        name=case.name if data.are_phantoms else str(number),
        site=case.site if data.are_phantoms else "",
        reference_ml=round(case.metrics.reference_ml, 3),
        volume_ml=round(case.metrics.prediction_ml, 3),
        dice=_rounded(case.metrics.dice),
    )


def _threshold_dice(data: Data, scans: Sequence[Case], out: Path) -> dict[str, float]:
    """Return what phantoms give away without any learning."""
    pairs = find_pairs(out, data.references).pairs
    scan_of = match_scans(pairs, scans)
    found = {}
    for pair in pairs:
        scan = read_scan(scan_of[pair.name])
        reference = read_scan(pair.reference, allow_constant=True).voxels > 0
        dice = best_threshold_dice(scan.voxels, reference, scan.voxel_volume_mm3)
        found[pair.name] = round(dice, 4)
    return found


def mean_dice(row: AccuracyRow) -> float:
    """Return the mean over the scans that have a Dice."""
    return float(np.mean([case.dice for case in row.cases if case.dice is not None]))


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
