"""`wmh-train`: from annotated scans to a calibrated checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress as Bar

from wmh_runtime.bundle.manifest import Calibration
from wmh_runtime.cli import console
from wmh_runtime.evaluation.report.writer import SUMMARY_NAME
from wmh_runtime.evaluation.statistics import Case
from wmh_runtime.text import count_noun
from wmh_train.calibration.calibrate import calibrate_checkpoint, edges_of
from wmh_train.checkpoint import CheckpointFacts, load_facts, weights_path
from wmh_train.cost import Footprint, footprint_of
from wmh_train.cross_validation import FoldListener, report_name
from wmh_train.cross_validation import cross_validate as train_folds
from wmh_train.data.annotated import DataSet
from wmh_train.data.layouts import find_data
from wmh_train.data.split import split_scans
from wmh_train.loop.distributed import is_main_process, require_one_process
from wmh_train.loop.fit import FitData, FitListener
from wmh_train.loop.fit import fit as train
from wmh_train.loop.loop import EpochReport, StepReport
from wmh_train.model.base import Base, read_base
from wmh_train.recipe.recipe import Recipe, load_recipe
from wmh_train.recipe.template import recipe_text

app = console.command_line("Train a WMH segmentation network and calibrate it.")

_RecipeName = Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")]
_Data = Annotated[
    Path,
    typer.Option(help="Annotated scans: WMH challenge folder, BIDS folder, or .csv/.tsv table."),
]
_BaseFile = Annotated[
    Path | None,
    typer.Option("--base", help="Weights of the frozen encoder: medsam_vit_b.pth."),
]
_Cache = Annotated[
    Path | None, typer.Option(help="Folder of prepared slices. Default: cache, in --out.")
]


@app.command()
def fit(
    recipe: _RecipeName,
    data: _Data,
    out: Annotated[Path, typer.Option(help="Folder of the training; an unfinished one goes on.")],
    base: _BaseFile = None,
    cache: _Cache = None,
) -> None:
    """Train a network as a recipe says and write its checkpoint."""
    loaded = load_recipe(recipe)
    found = _found(data, loaded)
    split = split_scans(found.scans, loaded.data, loaded.schedule.seed)
    parts = FitData(found.name, found.scans, split)
    with console.progress_bar() as bar:
        facts = train(loaded, parts, out, _read(base), _FitDisplay(bar), cache=cache)
    if is_main_process():
        _say_result(facts, out)
        with_base = f" --base {base}" if base is not None else ""
        console.print_line(f"Next: wmh-train calibrate {out} --data {data}{with_base}")


@app.command()
def calibrate(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder that fit wrote.")],
    data: _Data,
    base: _BaseFile = None,
) -> None:
    """Choose threshold and minimum lesion size on the validation scans, into the checkpoint."""
    require_one_process("calibration")
    facts = load_facts(checkpoint)
    if not facts.finished:
        console.print_warning(f"this training is not finished; calibrating epoch {facts.epoch}")
    found = _found(data, facts.recipe)
    with console.progress_bar() as bar:
        task = bar.add_task("calibrating", total=len(facts.split.validation))
        chosen = calibrate_checkpoint(checkpoint, found.scans, base, lambda: bar.advance(task))
    _say_calibration(chosen)


@app.command("cross-validate")
def cross_validate(
    recipe: _RecipeName,
    data: _Data,
    out: Annotated[Path, typer.Option(help="Folder for all folds; unfinished ones go on.")],
    folds: Annotated[int, typer.Option(min=2, help="How many parts the persons are dealt to.")] = 5,
    base: _BaseFile = None,
    cache: _Cache = None,
) -> None:
    """Train, calibrate and test once for each fold, and report on all scans together."""
    loaded = load_recipe(recipe)
    found = _found(data, loaded)
    with console.progress_bar() as bar:
        evaluations = train_folds(
            loaded, found, folds, out, _read(base), _FoldDisplay(bar), cache=cache
        )
    for output, evaluation in evaluations.items():
        dice = evaluation.overall.averages["dice"]
        console.print_line(
            f"{output}: mean Dice {dice.mean:.3f} [{dice.low:.3f}, {dice.high:.3f}] over"
            f" {evaluation.overall.count} scans, each segmented by a network that never saw it."
            f" Report: {out / report_name(output) / SUMMARY_NAME}"
        )


@app.command()
def describe(recipe: _RecipeName) -> None:
    """Say what a recipe costs: parameters, checkpoint, operations, memory."""
    loaded = load_recipe(recipe)
    for name, value in _described(loaded, footprint_of(loaded)):
        console.print_line(f"{name:<22} {value}")


@app.command("recipe")
def write_out(recipe: _RecipeName) -> None:
    """Write out a recipe with all its keys, values and meanings, to copy and change."""
    console.print_line(recipe_text(load_recipe(recipe)).rstrip())


def _described(recipe: Recipe, cost: Footprint) -> list[tuple[str, str]]:
    counts, preprocessing = cost.parameters, recipe.preprocessing
    side_mm = preprocessing.size_px * preprocessing.pixel_size_mm
    return [
        ("recipe", recipe.name),
        (
            "slices",
            f"{preprocessing.size_px} × {preprocessing.size_px} pixels of"
            f" {preprocessing.pixel_size_mm:g} mm, a field of {side_mm:g} mm",
        ),
        ("parameters", f"{counts.total:>12,}"),
        ("  frozen", f"{counts.frozen:>12,}"),
        ("  encoder, trained", f"{counts.encoder:>12,}"),
        ("  LoRA", f"{counts.lora:>12,}"),
        ("  channel adapter", f"{counts.adapter:>12,}"),
        ("  decoder", f"{counts.decoder:>12,}"),
        (
            "trained",
            f"{counts.trained:>12,}  {counts.trained / 1e6:.2f} M of {counts.total / 1e6:.1f} M,"
            f" {counts.trained_share:.1%}",
        ),
        ("checkpoint", f"{cost.checkpoint_bytes / 1e6:.1f} MB"),
        ("operations", f"{cost.flops_a_view / 1e9:.1f} GFLOP for one view of one slice"),
        (
            "memory of training",
            f"about {cost.training_bytes / 1e9:.1f} GB with {recipe.schedule.slices_at_once}"
            " slices at once",
        ),
    ]


def _found(data: Path, recipe: Recipe) -> DataSet:
    found = find_data(data, recipe.channels, recipe.outputs)
    if found.unannotated and is_main_process():
        console.print_warning(
            f"{count_noun(len(found.unannotated), 'scan')} without a reference mask passed over,"
            f" {found.unannotated[0]} first"
        )
    if is_main_process():
        for note in found.notes:
            console.print_warning(note)
    return found


def _read(base: Path | None) -> Base | None:
    return None if base is None else read_base(base)


def _say_result(facts: CheckpointFacts, out: Path) -> None:
    made = facts.provenance
    console.print_line(
        f"{made.trained_parameters:,} of {made.parameters:,} parameters trained. Best epoch"
        f" {facts.epoch}, validation Dice {facts.validation.mean:.3f}."
        f" Checkpoint: {out} ({weights_path(out, facts).stat().st_size / 1e6:.1f} MB)"
    )


def _say_calibration(calibration: Calibration) -> None:
    for choice in calibration.choices:
        for output, dice, f1 in zip(
            choice.outputs, choice.mean_dice, choice.mean_lesion_f1, strict=True
        ):
            console.print_line(
                f"{output.name}, {count_noun(choice.views, 'view')}: threshold"
                f" {output.threshold:g}, minimum"
                f" {output.min_lesion_mm3:g} mm³, mean Dice {dice:.3f}, lesion F1 {f1:.3f}"
                f" on {count_noun(calibration.scans, 'validation scan')}"
            )
    for edge in edges_of(calibration):
        console.print_warning(edge)


class _FitDisplay(FitListener):
    """A bar for the preprocessing, one for the training, a line for each epoch."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._preparing = bar.add_task("preparing", total=None, visible=False)
        self._training = bar.add_task("training", total=None, visible=False)

    def preparing(self, done: int, total: int) -> None:
        self._bar.update(self._preparing, completed=done, total=total, visible=done < total)

    def warning(self, line: str) -> None:
        console.print_warning(line)

    def starting(self, line: str) -> None:
        console.print_line(line)

    def step(self, report: StepReport) -> None:
        self._bar.update(
            self._training,
            completed=report.step,
            total=report.steps,
            visible=True,
            description=f"training, loss {report.losses['total']:.3f}",
        )

    def epoch(self, report: EpochReport) -> None:
        losses, validation = report.losses, report.validation
        parts = ", ".join(
            f"{name} {value:.3f}" for name, value in losses.items() if name != "total" and value
        )
        sites = ", ".join(f"{site} {value:.3f}" for site, value in validation.by_site.items())
        console.print_line(
            f"epoch {report.epoch}/{report.epochs}: loss {losses['total']:.3f} ({parts}),"
            f" validation Dice {validation.mean:.3f}"
            + (f" ({sites})" if len(validation.by_site) > 1 else "")
            + (", best so far" if report.is_best else "")
            + f", {report.seconds / 60:.1f} min, about {_minutes_left(report):.0f} min left"
        )


def _minutes_left(report: EpochReport) -> float:
    return report.seconds / 60 / report.epoch * (report.epochs - report.epoch)


class _FoldDisplay(FoldListener):
    """The display of a fit for each fold, then a bar for what follows it."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._then = bar.add_task("", total=None, visible=False)

    def fold(self, fold: int, folds: int) -> FitListener:
        console.print_line(f"fold {fold} of {folds}")
        return _FitDisplay(self._bar)

    def calibrating(self, done: int, total: int) -> None:
        self._show("calibrating", done, total)

    def calibrated(self, calibration: Calibration) -> None:
        _say_calibration(calibration)

    def testing(self, done: int, total: int) -> None:
        self._show("segmenting the test scans", done, total)

    def compared(self, output: str, cases: list[Case]) -> None:
        mean = sum(case.metrics.dice for case in cases) / len(cases)
        console.print_line(
            f"{output}: mean Dice {mean:.3f} on this fold's {count_noun(len(cases), 'test scan')}"
        )

    def warning(self, line: str) -> None:
        console.print_warning(line)

    def _show(self, what: str, done: int, total: int) -> None:
        self._bar.update(
            self._then, description=what, completed=done, total=total, visible=done < total
        )


def main() -> None:
    """Run `wmh-train`."""
    console.run(app)
