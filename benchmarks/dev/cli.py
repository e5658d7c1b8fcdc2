"""`python -m benchmarks.dev`: measurements for developers of this project. They need PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmarks.dev.clusters.commands import add_cluster_commands
from benchmarks.dev.distil.commands import add_distillation
from benchmarks.dev.peers.commands import add_peers
from benchmarks.dev.results_file import ResultsOption, require_writable, write_results
from benchmarks.dev.start_up.commands import add_start_up
from benchmarks.dev.studies.commands import add_studies
from wmh_runtime.backends.registry import find_backend
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.cli import console
from wmh_runtime.cli.options import parse_precision

if TYPE_CHECKING:
    from rich.progress import Progress

app = console.command_line("Measure regressions, training and pipeline during development.")

_EXTRAS = "cpu,export"
_RecipeArgument = Annotated[
    str, typer.Argument(help="A recipe file, or the name of a recipe of this package.")
]


@app.command()
def counts(
    results: Annotated[Path, typer.Option(help="JSON file to write.")],
    recipe: _RecipeArgument = "wmh-lora",
) -> None:
    """Count operators, operations, bytes and fused layers of an export, and slices of a run."""
    with console.require_extra(_EXTRAS):
        from benchmarks.dev.counts import count_export, count_scans, phantoms_to_count
        from wmh_train.recipe.recipe import load_recipe
    require_writable(results)
    with console.err.status("exporting"):
        export_counts = count_export(load_recipe(recipe))
    with console.err.status("segmenting phantoms"):
        scan_counts = count_scans(load_bundle("demo"), phantoms_to_count())
    write_results(results, export_counts.model_copy(update={"scans": scan_counts}))


@app.command("regression-check")
def regression_check(
    before: Annotated[Path, typer.Argument(help="JSON file of counts or wmh-bench baseline.")],
    after: Annotated[Path, typer.Argument(help="Another one of the same command.")],
) -> None:
    """Compare two measurements. Exit status: 0 nothing got worse, 1 something got worse.

    Counts are compared exactly. Of baselines, the speedups are compared, and changes up to 15 % are
    ignored.
    """
    with console.require_extra(_EXTRAS):
        from benchmarks.dev.regression_check import find_changes
    changes = find_changes(before, after)
    for change in changes:
        console.print_line(str(change))
    if any(change.is_worse for change in changes):
        raise typer.Exit(console.EXIT_SOME_FAILED)
    console.print_line("nothing got worse")


@app.command("surrogate-model")
def surrogate_model(
    out: Annotated[Path, typer.Option(help="Folder for all files, about 3 GB.")],
    recipe: _RecipeArgument = "wmh-lora",
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer phantoms and epochs; the masks are worse.")
    ] = False,
) -> None:
    """Train a network of the method's shape to measure with, without MedSAM's weights."""
    with console.require_extra(_EXTRAS):
        from benchmarks.dev.surrogate.model import (
            MIN_DICE,
            QUICK,
            make_surrogate_model,
            surrogate_recipe,
        )
        from wmh_train.recipe.recipe import load_recipe
    quick_or_full = surrogate_recipe(load_recipe(recipe), quick=quick)
    with console.progress_bar() as bar:
        model = make_surrogate_model(
            out, _StageDisplay(bar), quick_or_full, QUICK if quick else None
        )
    console.print_line(f"mean Dice {model.mean_dice:.3f} on {len(model.test_dice)} test phantoms")
    if model.mean_dice < MIN_DICE and not quick:
        console.print_error(f"the mean Dice is below {MIN_DICE}, too low to measure parity")
        raise typer.Exit(console.EXIT_SOME_FAILED)
    console.print_line(
        f"Next: wmh-export build {out / 'checkpoint'} --pretrained {out / 'pretrained.pth'} --out …"
    )


@app.command("training-step")
def training_step(
    recipe: _RecipeArgument,
    data: Annotated[Path, typer.Option(help="Annotated scans, as in wmh-train.")],
    cache: Annotated[Path, typer.Option(help="Folder for preprocessed slices.")],
    steps: Annotated[int, typer.Option(min=1, help="Timed steps, after one warm-up step.")] = 5,
    results: ResultsOption = None,
) -> None:
    """Time the optimizer steps of a recipe, and compare with a plain training loop."""
    with console.require_extra(_EXTRAS):
        from benchmarks.dev.training_step import measure_training_speed
        from wmh_train.recipe.recipe import load_recipe
    require_writable(results)
    with console.err.status("timing both loops"):
        measured = measure_training_speed(load_recipe(recipe), data, cache, steps)
    for speed in measured.loops:
        console.print_line(
            f"{measured.recipe}, {speed.loop} loop, {speed.precision}:"
            f" {speed.slices_per_second:.2f} slices/s, peak memory {speed.peak_memory_mb:.0f} MB"
        )
    console.print_line(
        f"speedup {measured.speedup:.2f}; estimated memory {measured.estimated_memory_mb:.0f} MB"
    )
    write_results(results, measured)


@app.command("model-checks")
def model_checks(
    bundle: Annotated[str, typer.Argument(help="Bundle folder, or the name of a shipped one.")],
    scans: Annotated[Path, typer.Option(help="Table or folder of annotated scans.")],
    heads: Annotated[
        Path | None, typer.Option(help="Folder of synthetic heads, to check regions.")
    ] = None,
    timed: Annotated[
        Path | None, typer.Option(help="A scan, to time wmh-infer on two cores.")
    ] = None,
    precision: Annotated[str, typer.Option(help="Of the timed scan.")] = "fp32",
    results: ResultsOption = None,
) -> None:
    """Check a bundle on real scans and synthetic heads: accuracy, invariance, regions, speed."""
    with console.require_extra(_EXTRAS):
        from benchmarks.dev.model_checks import (
            ModelChecks,
            check_regions,
            check_scans,
            time_one_scan,
        )
        from wmh_bench.environment import Environment, Model
        from wmh_train.data.layouts import find_dataset
    require_writable(results)
    opened = load_bundle(bundle)
    regions = opened.manifest.regions
    seconds = time_one_scan(timed, opened, precision) if timed is not None else None
    annotated = find_dataset(scans, ["flair"], ["wmh"], regions).scans
    made = find_dataset(heads, ["flair"], ["wmh"], regions).scans if heads is not None else ()
    with console.progress_bar() as bar:
        task = bar.add_task("checking", total=len(annotated) + len(made))
        checked = ModelChecks(
            environment=Environment.describe(Model.from_bundle(opened)),
            scans=check_scans(opened, annotated, lambda: bar.advance(task)),
            regions=check_regions(opened, made, lambda: bar.advance(task)),
            seconds_of_one_scan=seconds,
        )
    for one in checked.scans:
        console.print_line(
            f"{one.name}: Dice {one.dice:.3f}, {one.volume_ml:.1f} mL, reference"
            f" {one.reference_ml:.1f} mL"
        )
    write_results(results, checked)


add_cluster_commands(app)
add_peers(app)
add_distillation(app)
add_start_up(app)
add_studies(app)


@app.command("device-waits")
def device_waits(
    scans: Annotated[Path, typer.Argument(help="Folder of FLAIR scans.")],
    bundle: Annotated[str, typer.Option(help="Bundle folder, or demo.")] = "demo",
    seconds_per_slice: Annotated[
        float, typer.Option(min=0.001, help="Time of the sleeping device for a slice.")
    ] = 0.05,
    results: ResultsOption = None,
) -> None:
    """Measure how long a device waits for reading, preprocessing, postprocessing and writing."""
    with console.require_extra(_EXTRAS):
        from benchmarks.dev.device_waits import measure_device_waits
    require_writable(results)
    with console.err.status("running with a device that sleeps"):
        measured = measure_device_waits(load_bundle(bundle), scans, seconds_per_slice)
    console.print_line(
        f"{measured.scans} scans, {measured.slices} slices: {measured.device_seconds:.1f} s on the"
        f" device, {measured.run_seconds:.1f} s in total, ratio {measured.ratio:.3f}"
    )
    write_results(results, measured)


@app.command("odd-inputs")
def odd_inputs(
    count: Annotated[int, typer.Option(min=1, help="Number of files.")] = 20000,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other files.")] = 0,
) -> None:
    """Run damaged and odd files through the runner. Exit status: 0 no fault, 1 some faults."""
    from benchmarks.dev.odd_inputs import check_odd_inputs

    with console.progress_bar() as bar:
        task = bar.add_task("running odd files", total=count)
        checked = check_odd_inputs(
            load_bundle("demo"), count, seed=seed, on_files=lambda n: bar.advance(task, n)
        )
    console.print_line(
        f"{checked.files} files: {checked.segmented} segmented, {checked.refused} refused in one"
        f" line, {checked.skipped} skipped"
    )
    for fault in checked.faults:
        console.print_error(fault)
    if checked.faults:
        console.print_line(checked.log)
        raise typer.Exit(console.EXIT_SOME_FAILED)


@app.command("speed-up")
def speed_up(
    scan: Annotated[Path, typer.Argument(help="A FLAIR scan.")],
    bundle: Annotated[str, typer.Option(help="Bundle folder.")],
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint that the bundle was exported from.")],
    pretrained: Annotated[
        Path | None, typer.Option(help="Pretrained weights of its frozen encoder.")
    ] = None,
    backend: Annotated[str, typer.Option(help="onnxruntime or openvino.")] = "openvino",
    precision: Annotated[str, typer.Option(help="As in wmh-infer.")] = "int8",
    reference_views: Annotated[int, typer.Option(min=2, help="Views to time in PyTorch.")] = 40,
    results: ResultsOption = None,
) -> None:
    """Segment one scan, file to files, and compare with PyTorch, one view after another."""
    with console.require_extra(_EXTRAS):
        from benchmarks.dev.speed_up import measure_speed_up
    require_writable(results)
    with console.err.status("loading") as status:
        measured = measure_speed_up(
            load_bundle(bundle),
            checkpoint,
            pretrained,
            scan,
            find_backend(backend),
            parse_precision(precision),
            reference_views,
            status.update,
        )
    console.print_line(
        f"PyTorch, view by view: {measured.reference_seconds_per_view:.2f} s per view,"
        f" {measured.reference_seconds:.0f} s for {measured.slices} slices"
    )
    for run in measured.runs:
        console.print_line(
            f"{run.tta} {run.precision}: {run.seconds:.1f} s, speedup {run.speedup:.2f}"
            f" ({run.speedup_of_executed_slices:.2f} on the {run.slices_executed} executed slices),"
            f" mask Dice {run.mask_dice:.4f}"
        )
    console.print_line(
        f"adaptive: {measured.share_in_all_views:.2f} of the slices in all views, speedup"
        f" {measured.adaptive_speedup:.2f} compared with full,"
        f" {measured.adaptive_efficiency:.2f} of the upper limit"
    )
    write_results(results, measured)


class _StageDisplay:
    """Shows a progress bar for each stage. Implements `SurrogateListener`."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def stage(self, name: str, total: int) -> None:
        self._bar.reset(self._task, description=name, total=total)

    def advance(self) -> None:
        self._bar.advance(self._task)

    def note(self, line: str) -> None:
        console.print_line(line)


def main() -> None:
    """Run `python -m benchmarks.dev`."""
    console.run(app)
