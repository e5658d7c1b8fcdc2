"""`wmh-bench`: what bundles and trainings are worth, measured."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import Progress

from wmh_bench.accuracy import Accuracy, CaseAccuracy, held_out_phantoms, measure_accuracy
from wmh_bench.cohort_speed import measure_cohort_speed
from wmh_bench.data_memory import measure_data_memory
from wmh_bench.device_waits import measure_device_waits
from wmh_bench.export_cost import measure_export
from wmh_bench.gpu.views import GpuViews, measure_gpu_views
from wmh_bench.speed_up import measure_speed_up
from wmh_bench.stand_in import LOWEST_DICE, StandInListener, make_stand_in, stand_in_recipe
from wmh_bench.training_step import measure_training_speed
from wmh_bench.view_speed import measure_view_speed
from wmh_export.card import MeasuredAccuracy, model_card
from wmh_runtime.atomic import write_text_atomically
from wmh_runtime.backends.select import backend_named
from wmh_runtime.bundle import CARD_NAME, Bundle, open_bundle
from wmh_runtime.cli import terminal
from wmh_runtime.cli.options import precision_named, tta_named
from wmh_runtime.discovery import discover
from wmh_runtime.errors import BackendError, InputError
from wmh_runtime.folders import make_writable_folder
from wmh_runtime.strict import Strict
from wmh_train.recipe import load_recipe

app = terminal.command_line("Measure accuracy, speed and memory.")

_ROW = "{:<12} {:<10} {:>5} {:>8} {:>8} {:>7} {:>9}"


_Results = Annotated[Path | None, typer.Option(help="Also write the figures to this JSON file.")]
_RecipeName = Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")]
_Base = Annotated[Path | None, typer.Option(help="Weights that the encoder stands on.")]
_Scans = Annotated[Path, typer.Argument(help="Folder of FLAIR scans.")]
_Bundle = Annotated[str, typer.Option(help="Bundle folder, or the name of a shipped one.")]
_Data = Annotated[Path, typer.Option(help="Annotated scans, as wmh-train takes them.")]


@app.command()
def accuracy(
    bundle: Annotated[str, typer.Argument(help="Bundle folder, or the name of a shipped one.")],
    results: _Results = None,
    card: Annotated[
        bool, typer.Option("--card", help="Also write them into the bundle's model card.")
    ] = False,
) -> None:
    """Measure the Dice on twelve held-out phantoms, beside that of an intensity threshold."""
    opened = open_bundle(bundle)
    _check(results)
    plans = held_out_phantoms()
    terminal.say(_ROW.format("phantom", "site", "CNR", "true mL", "mL", "Dice", "threshold"))
    with terminal.progress_bar() as bar:
        task = bar.add_task("measuring", total=len(plans))

        def show(case: CaseAccuracy) -> None:
            figures = (case.reference_ml, case.volume_ml, case.dice, case.threshold_dice)
            noise = case.contrast_to_noise
            terminal.say(_ROW.format(case.name, case.site, noise, *figures))
            bar.advance(task)

        measured = measure_accuracy(opened, plans, show)
    terminal.say(
        f"mean Dice {measured.mean_dice:.3f}, lowest {measured.lowest_dice:.3f};"
        f" intensity threshold {measured.threshold_mean_dice:.3f}"
    )
    _write(results, measured)
    if card:
        _write_card(opened, measured, f"wmh-bench accuracy {bundle}")


@app.command("data-memory")
def data_memory(
    data: _Data,
    recipe: _RecipeName = "tiny",
    scans: Annotated[int, typer.Option(min=1, help="How many to open in the end.")] = 170,
    results: _Results = None,
) -> None:
    """Measure what memory reading training data takes as scans become more."""
    _check(results)
    with terminal.err.status("filling a cache, then reading from it"):
        measured = measure_data_memory(data, load_recipe(recipe), scans)
    for one in measured.opened:
        terminal.say(
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
    """Time a recipe's optimiser steps, and those of the plain loop a person would write."""
    _check(results)
    with terminal.err.status("timing both loops"):
        measured = measure_training_speed(load_recipe(recipe), data, cache, steps)
    for speed in measured.loops:
        terminal.say(
            f"{measured.recipe}, {speed.loop} loop, {speed.precision}:"
            f" {speed.slices_per_second:.2f} slices/s, peak memory {speed.peak_memory_mb:.0f} MB"
        )
    terminal.say(
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
    _check(results)
    with terminal.err.status("exporting"):
        measured = measure_export(checkpoint, out, base)
    for step in measured.steps:
        terminal.say(f"{step.seconds:7.1f} s  {step.name}")
    terminal.say(
        f"{measured.seconds:.0f} s, {measured.int8_search_seconds:.0f} s of them for the search of"
        f" INT8; peak memory {measured.peak_memory_mb:.0f} MB"
    )
    for reason in measured.refused:
        terminal.say_error(reason)
    _write(results, measured)


@app.command("view-speed")
def view_speed(
    bundle: Annotated[str, typer.Argument(help="Bundle folder.")],
    checkpoint: Annotated[Path, typer.Option(help="That it was exported from, for PyTorch.")],
    base: _Base = None,
    turns: Annotated[int, typer.Option(min=1, help="Timed, after one that is not.")] = 7,
    results: _Results = None,
) -> None:
    """Time one view by every backend and precision of this processor, and by PyTorch, in turns."""
    _check(results)
    with terminal.progress_bar() as bar:
        task = bar.add_task("executing views", total=turns + 1)
        measured = measure_view_speed(
            open_bundle(bundle), checkpoint, base, turns, lambda: bar.advance(task)
        )
    for one in measured.contenders:
        terminal.say(
            f"{one.median_s:7.3f} s  {one.times_faster:5.2f} ×  mask Dice {one.mask_dice:.4f}"
            f"  {one.name}"
        )
    for ceiling in measured.ceilings:
        terminal.say(
            f"matrix products, {ceiling.precision}: {ceiling.gflop_per_s:.0f} GFLOP/s, so at least"
            f" {ceiling.floor_s:.3f} s a view of the method at 512 pixels"
        )
    _write(results, measured)


@app.command("device-waits")
def device_waits(
    scans: _Scans,
    bundle: _Bundle = "demo",
    seconds_a_slice: Annotated[
        float, typer.Option(min=0.001, help="That a device takes which only sleeps.")
    ] = 0.05,
    results: _Results = None,
) -> None:
    """Measure how long a device waits for what is read, prepared, finished and written."""
    _check(results)
    with terminal.err.status("running over a device that sleeps"):
        measured = measure_device_waits(open_bundle(bundle), scans, seconds_a_slice)
    terminal.say(
        f"{measured.scans} scans, {measured.slices} slices: {measured.seconds_device:.1f} s of the"
        f" device, {measured.seconds_run:.1f} s in all, ratio {measured.ratio:.3f}"
    )
    _write(results, measured)


@app.command("cohort-speed")
def cohort_speed(
    scans: _Scans,
    out: Annotated[Path, typer.Option(help="Folder for the masks.")],
    bundle: _Bundle = "demo",
    backend: Annotated[str, typer.Option(help="onnxruntime or openvino.")] = "onnxruntime",
    precision: Annotated[str, typer.Option(help="As of wmh-infer.")] = "fp32",
    tta: Annotated[str, typer.Option(help="As of wmh-infer.")] = "full",
    results: _Results = None,
) -> None:
    """Segment a folder, files to files, and compare with what the device does alone."""
    _check(results)
    opened = open_bundle(bundle)
    with terminal.progress_bar() as bar:
        task = bar.add_task("segmenting", total=len(discover(scans, out).scans))
        measured = measure_cohort_speed(
            opened,
            scans,
            out,
            backend_named(backend),
            precision_named(precision),
            tta_named(tta),
            lambda: bar.advance(task),
        )
    terminal.say(
        f"{measured.scans} scans in {measured.seconds:.1f} s:"
        f" {measured.scans_a_second:.3f} scans/s, {measured.views_a_second:.2f} views/s,"
        f" {measured.share_of_alone:.2f} of the device alone"
    )
    terminal.say(
        f"{measured.slices_executed} of {measured.slices} slices executed,"
        f" {measured.slices_in_all_views} of them in all views; peak memory"
        f" {measured.peak_memory_mb:.0f} MB"
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
    _check(results)
    with terminal.err.status("opening") as status:
        measured = measure_speed_up(
            open_bundle(bundle),
            checkpoint,
            base,
            scan,
            backend_named(backend),
            precision_named(precision),
            reference_views,
            status.update,
        )
    terminal.say(
        f"PyTorch, view by view: {measured.reference_seconds_a_view:.2f} s a view, so"
        f" {measured.reference_seconds:.0f} s for {measured.slices} slices"
    )
    for one in measured.runs:
        terminal.say(
            f"{one.tta} {one.precision}: {one.seconds:.1f} s, {one.times_faster:.2f} × faster"
            f" ({one.times_faster_of_slices:.2f} × of the {one.slices_executed} slices executed),"
            f" mask Dice {one.mask_dice:.4f}"
        )
    terminal.say(
        f"adaptive: {measured.looked_again:.2f} of the slices in all views,"
        f" {measured.adaptive_times_faster:.2f} × faster than full,"
        f" {measured.adaptive_share:.2f} of what that allows"
    )
    _write(results, measured)


@app.command("gpu-views")
def gpu_views(
    checkpoint: Annotated[Path, typer.Argument(help="Calibrated checkpoint folder.")],
    results: Annotated[Path, typer.Option(help="JSON file, written anew after each way.")],
    base: _Base = None,
    batches: Annotated[str, typer.Option(help="Slices at a time, commas between.")] = "1,2,4,8",
) -> None:
    """Execute slices of eight views on a GPU by PyTorch, providers and engines, way by way."""
    _require_gpu()
    _check(results)
    at_a_time = _batches(batches)

    def show(measured: GpuViews, line: str) -> None:
        terminal.say(line)
        _write(results, measured)

    with tempfile.TemporaryDirectory() as scratch:
        measure_gpu_views(checkpoint, base, at_a_time, Path(scratch), show)


@app.command("stand-in")
def stand_in(
    out: Annotated[Path, typer.Option(help="Folder for all of it, about 3 GB.")],
    recipe: _RecipeName = "wmh-lora",
) -> None:
    """Make a trained network of the method's shape to measure with, without MedSAM's weights."""
    shape = load_recipe(recipe)
    with terminal.progress_bar() as bar:
        made = make_stand_in(out, _StageDisplay(bar), stand_in_recipe(shape))
    terminal.say(f"mean Dice {made.mean_dice:.3f} on {len(made.unseen_dice)} unseen phantoms")
    if made.mean_dice < LOWEST_DICE:
        terminal.say_error(
            f"that is below {LOWEST_DICE}: its masks mean too little to measure with"
        )
        raise typer.Exit(terminal.EXIT_SOME_FAILED)
    terminal.say(f"Next: wmh-export build {out / 'checkpoint'} --base {out / 'base.pth'} --out …")


class _StageDisplay(StandInListener):
    """A bar for each stage."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def stage(self, name: str, total: int) -> None:
        self._bar.reset(self._task, description=name, total=total)

    def advance(self) -> None:
        self._bar.advance(self._task)

    def note(self, line: str) -> None:
        terminal.say(line)


def _batches(numbers: str) -> list[int]:
    found = {one.strip() for one in numbers.split(",")}
    if all(one.isdecimal() and int(one) for one in found):
        return sorted(map(int, found))
    raise InputError(f"is {numbers}", "Give numbers of slices, such as 1,4.", about="--batches")


def _require_gpu() -> None:
    if not torch.cuda.is_available():
        raise BackendError("PyTorch sees no GPU", "Check the driver with nvidia-smi.")


def _check(results: Path | None) -> None:
    """Find out before a long measurement whether its results can be written."""
    if results is not None:
        make_writable_folder(results.parent)


def _write(results: Path | None, measured: Strict) -> None:
    if results is not None:
        write_text_atomically(results, measured.model_dump_json(indent=2) + "\n")


def _write_card(bundle: Bundle, measured: Accuracy, command: str) -> None:
    text = model_card(
        bundle.manifest,
        MeasuredAccuracy(
            data=f"{len(measured.cases)} phantoms that no training saw, 1 to 40 mL, three sites",
            mean_dice=measured.mean_dice,
            lowest_dice=measured.lowest_dice,
            threshold_mean_dice=measured.threshold_mean_dice,
            command=command,
        ),
    )
    write_text_atomically(bundle.folder / CARD_NAME, text)


def main() -> None:
    """Run `wmh-bench`."""
    terminal.run(app)
