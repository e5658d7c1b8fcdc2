"""Compare a student with its teacher: Dice on annotated scans, and the time of whole runs."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.dev.timed_run import RunOptions, time_run
from wmh_bench.machine import Machine, describe_machine
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.reference_masks import read_reference
from wmh_runtime.outputs.paths import output_paths
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.schema import StrictModel
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.layouts import find_dataset

_OUTPUT = "wmh"


class ModelResult(StrictModel):
    """One of the two models."""

    name: str
    model_id: str
    parameters: int
    mean_dice: float
    dice: list[float]  # of each scan, by name
    seconds_by_turn: list[float]  # of a whole run on all scans, from the command to the last file
    seconds_per_scan: float  # median over the turns


class Distillation(StrictModel):
    """The measurement."""

    machine: Machine
    data: str
    scans: int
    backend: str
    precision: str
    tta: str
    teacher: ModelResult
    student: ModelResult
    share_of_dice: float  # of the teacher's mean Dice
    speedup: float


def compare_models(
    teacher: RunOptions,
    student: RunOptions,
    data: Path,
    most_scans: int,
    turns: int,
    on_step: Callable[[str], None],
) -> Distillation:
    """Run both models on the same scans, in turns, after an untimed run of each on the first scan.

    Args:
        teacher: its bundle, and how it is run.
        student: likewise, on the same scans.
        data: annotated scans that neither model has seen, in a flat folder.
        most_scans: the first ones by name are taken.
        turns: runs of each.
        on_step: called before each run.

    Raises:
        BackendError: a run failed.
        InputError: a scan or mask cannot be read, or the teacher finds no lesion in any mask.
    """
    found = find_dataset(data, ["flair"], [_OUTPUT])
    scans = found.scans[:most_scans]
    models = (teacher, student)
    seconds: list[list[float]] = [[], []]
    dice: list[list[float]] = [[], []]
    with tempfile.TemporaryDirectory() as name:
        table, first = Path(name, "scans.csv"), Path(name, "first.csv")
        rows = ["flair", *(f"{scan.channels[0].resolve()}" for scan in scans)]
        table.write_text("\n".join(rows) + "\n", encoding="utf-8")
        first.write_text("\n".join(rows[:2]) + "\n", encoding="utf-8")
        for number, model in enumerate(models):  # files are read, and the backend is compared
            on_step(f"{model.bundle}, first scan")
            time_run(first, Path(name, f"first-{number}"), model)
        for turn in range(turns):
            for number, model in enumerate(models):
                on_step(f"turn {turn + 1}: {model.bundle}, {len(scans)} scans")
                out = Path(name, f"{turn}-{number}")
                seconds[number].append(time_run(table, out, model).seconds)
                dice[number] = [_dice(scan, out) for scan in scans]
    of_teacher, of_student = map(_result, models, dice, seconds)
    if not of_teacher.mean_dice:
        advice = "Give a teacher that finds lesions."
        raise InputError("has a mean Dice of 0 on these scans", advice, about=teacher.bundle)
    return Distillation(
        machine=describe_machine(),
        data=found.name,
        scans=len(scans),
        backend=student.backend,
        precision=student.precision,
        tta=student.tta,
        teacher=of_teacher,
        student=of_student,
        share_of_dice=round(of_student.mean_dice / of_teacher.mean_dice, 4),
        speedup=round(of_teacher.seconds_per_scan / of_student.seconds_per_scan, 1),
    )


def _result(model: RunOptions, dice: Sequence[float], seconds: Sequence[float]) -> ModelResult:
    manifest = load_bundle(model.bundle).manifest
    return ModelResult(
        name=manifest.name,
        model_id=manifest.model_id,
        parameters=manifest.training.parameters,
        mean_dice=round(statistics.fmean(dice), 4),
        dice=[round(value, 4) for value in dice],
        seconds_by_turn=[round(value, 1) for value in seconds],
        seconds_per_scan=round(statistics.median(seconds) / len(dice), 2),
    )


def _dice(scan: AnnotatedScan, out: Path) -> float:
    path = scan.channels[0]
    masks = sorted(out.rglob(output_paths(Path(), Path(path.name), _OUTPUT).mask.name))
    if len(masks) != 1:
        raise InputError(f"has {len(masks)} masks, expected one", about=path)
    image = read_scan(path)
    found = read_reference(masks[0], image).lesion
    return dice_of_masks(found, read_reference(scan.references[0], image).lesion)
