"""`python -m benchmarks.dev`: what this project measures of itself, with PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wmh_runtime.backends.registry import find_backend
from wmh_runtime.bundle.bundle import open_bundle
from wmh_runtime.cli import console
from wmh_runtime.cli.options import parse_precision
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.schema import StrictModel

if TYPE_CHECKING:
    from rich.progress import Progress

app = console.command_line("Measure training, export and the pipeline, for those who change them.")

_EXTRAS = "cpu,export"
_Results = Annotated[Path | None, typer.Option(help="Also write the figures to this JSON file.")]
_RecipeName = Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")]
_Base = Annotated[Path | None, typer.Option(help="Weights that the encoder stands on.")]
_Data = Annotated[Path, typer.Option(help="Annotated scans, as wmh-train takes them.")]


@app.command("data-memory")
def data_memory(
    data: _Data,
    recipe: _RecipeName = "tiny",
    scans: Annotated[int, typer.Option(min=1, help="How many to open in the end.")] = 170,
    results: _Results = None,
) -> None:
    """Measure what memory reading training data takes as scans become more."""
    with console.require_extra(_EXTRAS):
        from benchmarks.dev.data_memory import measure_data_memory
        from wmh_train.recipe.recipe import load_recipe
    _check(results)
    with console.err.status("filling a cache, then reading from it"):
        measured = measure_data_memory(data, load_recipe(recipe), scans)
    for one in measured.opened:
        console.print_line(
            f"{one.scans} scans, {one.slices} slices: at most {one.largest_resident_mb:.0f} MB"
            f" resident; in memory they would take {one.held_in_memory_mb:.0f} MB"
        )
    _write(results, measured)


@app.command("training-step")
def training_step(
    recipe: _RecipeName,
    data: _Data,
    cache: Annotated[Path, typer.Option(help="Folder of prepared slices.")],
    steps: Annotated[int, typer.Option(min=1, help="Timed, after one that is not.")] = 5,
    results: _Results = None,
) -> None:
    """Time a recipe's optimizer steps, and those of the plain loop a person would write."""
    with console.require_extra(_EXTRAS):
        from benchmarks.dev.training_step import measure_training_speed
        from wmh_train.recipe.recipe import load_recipe
    _check(results)
    with console.err.status("timing both loops"):
        measured = measure_training_speed(load_recipe(recipe), data, cache, steps)
    for speed in measured.loops:
        console.print_line(
            f"{measured.recipe}, {speed.loop} loop, {speed.precision}:"
            f" {speed.slices_per_second:.2f} slices/s, peak memory {speed.peak_memory_mb:.0f} MB"
        )
    console.print_line(
        f"ratio {measured.ratio:.2f}; a step was estimated at {measured.estimated_memory_mb:.0f} MB"
    )
    _write(results, measured)


@app.command("export")
def export_cost(
    checkpoint: Annotated[Path, typer.Argument(help="Calibrated checkpoint folder.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to write; must not exist.")],
    base: _Base = None,
    results: _Results = None,
) -> None:
    """Measure what an export takes: time, memory, size, and how true each precision is."""
    with console.require_extra(_EXTRAS):
        from benchmarks.dev.export_cost import measure_export
    _check(results)
    with console.err.status("exporting"):
        measured = measure_export(checkpoint, out, base)
    for step in measured.steps:
        console.print_line(f"{step.seconds:7.1f} s  {step.name}")
    console.print_line(
        f"{measured.seconds:.0f} s, {measured.int8_search_seconds:.0f} s of them for the search of"
        f" INT8; peak memory {measured.peak_memory_mb:.0f} MB"
    )
    for reason in measured.refused:
        console.print_error(reason)
    _write(results, measured)


@app.command("device-waits")
def device_waits(
    scans: Annotated[Path, typer.Argument(help="Folder of FLAIR scans.")],
    bundle: Annotated[str, typer.Option(help="Bundle folder, or the name of a shipped one.")] = (
        "demo"
    ),
    seconds_a_slice: Annotated[
        float, typer.Option(min=0.001, help="That a device takes which only sleeps.")
    ] = 0.05,
    results: _Results = None,
) -> None:
    """Measure how long a device waits for what is read, prepared, finished and written."""
    with console.require_extra(_EXTRAS):
        from benchmarks.dev.device_waits import measure_device_waits
    _check(results)
    with console.err.status("running over a device that sleeps"):
        measured = measure_device_waits(open_bundle(bundle), scans, seconds_a_slice)
    console.print_line(
        f"{measured.scans} scans, {measured.slices} slices: {measured.seconds_device:.1f} s of the"
        f" device, {measured.seconds_run:.1f} s in all, ratio {measured.ratio:.3f}"
    )
    _write(results, measured)


@app.command("speed-up")
def speed_up(
    scan: Annotated[Path, typer.Argument(help="A FLAIR scan.")],
    bundle: Annotated[str, typer.Option(help="Bundle folder.")],
    checkpoint: Annotated[Path, typer.Option(help="That it was exported from, for PyTorch.")],
    base: _Base = None,
    backend: Annotated[str, typer.Option(help="onnxruntime or openvino.")] = "openvino",
    precision: Annotated[str, typer.Option(help="As of wmh-infer.")] = "int8",
    reference_views: Annotated[int, typer.Option(min=2, help="Timed by PyTorch.")] = 40,
    results: _Results = None,
) -> None:
    """Segment one scan, file to files, and compare with PyTorch view by view."""
    with console.require_extra(_EXTRAS):
        from benchmarks.dev.speed_up import measure_speed_up
    _check(results)
    with console.err.status("opening") as status:
        measured = measure_speed_up(
            open_bundle(bundle),
            checkpoint,
            base,
            scan,
            find_backend(backend),
            parse_precision(precision),
            reference_views,
            status.update,
        )
    console.print_line(
        f"PyTorch, view by view: {measured.reference_seconds_a_view:.2f} s a view, so"
        f" {measured.reference_seconds:.0f} s for {measured.slices} slices"
    )
    for one in measured.runs:
        console.print_line(
            f"{one.tta} {one.precision}: {one.seconds:.1f} s, {one.times_faster:.2f} × faster"
            f" ({one.times_faster_of_slices:.2f} × of the {one.slices_executed} slices executed),"
            f" mask Dice {one.mask_dice:.4f}"
        )
    console.print_line(
        f"adaptive: {measured.looked_again:.2f} of the slices in all views,"
        f" {measured.adaptive_times_faster:.2f} × faster than full,"
        f" {measured.adaptive_share:.2f} of what that allows"
    )
    _write(results, measured)


@app.command("stand-in")
def stand_in(
    out: Annotated[Path, typer.Option(help="Folder for all of it, about 3 GB.")],
    recipe: _RecipeName = "wmh-lora",
    quick: Annotated[
        bool, typer.Option("--quick", help="Of fewer heads and epochs, with worse masks.")
    ] = False,
) -> None:
    """Make a trained network of the method's shape to measure with, without MedSAM's weights."""
    with console.require_extra(_EXTRAS):
        from benchmarks.dev.surrogate_model import (
            LOWEST_DICE,
            QUICK,
            make_stand_in,
            stand_in_recipe,
        )
        from wmh_train.recipe.recipe import load_recipe
    shape = stand_in_recipe(load_recipe(recipe), quick=quick)
    with console.progress_bar() as bar:
        made = make_stand_in(out, _StageDisplay(bar), shape, QUICK if quick else None)
    console.print_line(f"mean Dice {made.mean_dice:.3f} on {len(made.unseen_dice)} unseen phantoms")
    if made.mean_dice < LOWEST_DICE and not quick:
        console.print_error(
            f"that is below {LOWEST_DICE}: its masks mean too little to measure with"
        )
        raise typer.Exit(console.EXIT_SOME_FAILED)
    console.print_line(
        f"Next: wmh-export build {out / 'checkpoint'} --base {out / 'base.pth'} --out …"
    )


@app.command()
def counts(
    results: Annotated[Path, typer.Option(help="JSON file to write.")],
    recipe: _RecipeName = "wmh-lora",
) -> None:
    """Count what an export and a scan come to: operators, FLOPs, bytes, fused layers, slices."""
    with console.require_extra(_EXTRAS):
        from benchmarks.dev.counts import count_export, count_scans, counted_phantoms
        from wmh_train.recipe.recipe import load_recipe
    _check(results)
    with console.err.status("exporting"):
        of_export = count_export(load_recipe(recipe))
    with console.err.status("segmenting phantoms"):
        of_scans = count_scans(open_bundle("demo"), counted_phantoms())
    _write(results, of_export.model_copy(update={"scans": of_scans}))


@app.command()
def gate(
    before: Annotated[Path, typer.Argument(help="JSON file of `dev counts` or `baseline`.")],
    after: Annotated[Path, typer.Argument(help="Another, of the same command.")],
) -> None:
    """Say what changed between two measurements; exit status 1 where something got worse.

    Counts are compared as they are; of baselines the ratios of ways that took turns in one run.
    """
    with console.require_extra(_EXTRAS):
        from benchmarks.dev.gate import changes
    found = changes(before, after)
    for change in found:
        console.print_line(str(change))
    if any(change.is_worse for change in found):
        raise typer.Exit(console.EXIT_SOME_FAILED)
    console.print_line("nothing got worse")


class _StageDisplay:
    """A bar for each stage; it listens as `StandInListener` does."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def stage(self, name: str, total: int) -> None:
        self._bar.reset(self._task, description=name, total=total)

    def advance(self) -> None:
        self._bar.advance(self._task)

    def note(self, line: str) -> None:
        console.print_line(line)


def _check(results: Path | None) -> None:
    """Find out before a long measurement whether its results can be written."""
    if results is not None:
        make_writable_folder(results.parent)


def _write(results: Path | None, measured: StrictModel) -> None:
    if results is not None:
        write_text_atomically(results, measured.model_dump_json(indent=2) + "\n")


def main() -> None:
    """Run `python -m benchmarks.dev`."""
    console.run(app)
