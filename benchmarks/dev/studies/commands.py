"""The commands of `python -m benchmarks.dev` that answer a question with an experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmarks.dev.results_file import ResultsOption, require_writable, write_results
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.cli import console
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.machine import available_cores

if TYPE_CHECKING:
    from rich.progress import Progress

    from wmh_train.display import FitDisplay

_HeadsArgument = Annotated[Path, typer.Argument(help="Folder of synthetic heads to train on.")]
_TestHeadsArgument = Annotated[Path, typer.Argument(help="Folder of other heads to score.")]
_OutOption = Annotated[Path, typer.Option(help="Folder for the trainings; what is there is kept.")]


def add_studies(app: typer.Typer) -> None:
    """Add the commands of this module to a command line."""
    app.command("input-settings")(input_settings)
    app.command("planes")(planes)
    app.command("staged-learning")(staged_learning)
    app.command("image-quality")(image_quality)
    app.command("rescans")(rescans)


def input_settings(
    training: _HeadsArgument,
    test: _TestHeadsArgument,
    out: _OutOption,
    results: ResultsOption = None,
) -> None:
    """Train with FLAIR, T1, both, or whichever is there, for lesions and regions, and compare."""
    with console.require_extra("cpu,export"):
        from benchmarks.dev.studies.input_settings import InputComparison, compare_inputs
    require_writable(results)

    def write(comparison: InputComparison) -> None:
        last = comparison.scores[-1]
        console.print_line(f"{last.inputs}, {last.task}: {last.model_dump_json()}")
        write_results(results, comparison)

    with console.progress_bar() as bar:
        compare_inputs(training, test, out, lambda variant: _begin(bar, variant.name), write)


def planes(
    training: _HeadsArgument,
    test: _TestHeadsArgument,
    out: _OutOption,
    heads: Annotated[int, typer.Option(min=1, help="Most heads to score.")] = 12,
    results: ResultsOption = None,
) -> None:
    """Compare axial slices with three planes, from thin slices to thick ones."""
    with console.require_extra("cpu,export"):
        from benchmarks.dev.studies.planes import ThicknessScore, compare_planes
        from wmh_runtime.preprocessing.slices.planes import planes_text
    require_writable(results)

    def show(score: ThicknessScore) -> None:
        console.print_line(
            f"trained in {planes_text(score.trained_in)}, segmented in"
            f" {planes_text(score.segmented_in)}, {score.mm:.1f} mm: Dice {score.mean_dice:.3f}"
        )

    with console.progress_bar() as bar:
        compared = compare_planes(
            training, test, out, lambda name: _begin(bar, name), show, most_heads=heads
        )
    write_results(results, compared)


def staged_learning(
    label_maps: Annotated[Path, typer.Argument(help="Folder of label maps of heads.")],
    lesion_masks: Annotated[Path, typer.Argument(help="Folder of masks of real lesions.")],
    out: Annotated[Path, typer.Option(help="Folder for everything; what is there is kept.")],
    vgg16: Annotated[
        Path | None,
        typer.Option(help="Weights of torchvision's vgg16_bn. Without: from drawn pictures."),
    ] = None,
    results: ResultsOption = None,
) -> None:
    """Compare learning in stages with learning from a dozen masks of experts only.

    Five networks learn from heads of four synthetic scanners, and are scored on those of three
    others. It takes two to three hours on two cores, and can be stopped at any time.
    """
    with console.require_extra("cpu,export,itk"):
        from benchmarks.dev.studies.staged.study import StudyListener, run_study
        from wmh_train.synthesis.cohort import Sources, find_images
    require_writable(results)
    with console.progress_bar() as bar:

        def begin(name: str, total: int) -> Callable[[], None]:
            task = bar.add_task(name, total=total)
            return lambda: bar.advance(task)

        result = run_study(
            Sources(find_images(label_maps), find_images(lesion_masks)),
            out,
            available_cores(),
            StudyListener(begin, lambda name: _begin(bar, name), console.print_warning),
            vgg16=vgg16,
        )
    for one in result.scores:
        console.print_line(one.model_dump_json())
    console.print_line(f"Comparison: {out / 'comparison' / 'summary.md'}")
    write_results(results, result)


def image_quality(
    scans: Annotated[Path, typer.Argument(help="Folder with axial FLAIR scans, *_FLAIR.nii.gz.")],
    phantoms: Annotated[int, typer.Option(min=0, help="Phantoms of each site.")] = 8,
    every: Annotated[
        int,
        typer.Option(
            min=1, help="Artifacts are added to one of so many scans, the first among them."
        ),
    ] = 2,
    bundle: Annotated[str, typer.Option(help="Bundle with regions, for lesions too.")] = "base",
    results: ResultsOption = None,
) -> None:
    """Measure image quality in clean scans and with artifacts of known strength.

    The summary is printed as Markdown. There are about 50 damaged images of a scan, of 2 to 6 s.
    """
    with console.require_extra("cpu,eval"):
        from benchmarks.dev.studies.image_quality.study import QualityStudy, run_study
        from benchmarks.dev.studies.image_quality.summary import summary_of
    require_writable(results)
    paths = sorted(scans.rglob("*_FLAIR.nii.gz"))
    options = InferenceOptions(tta="none")
    with (
        console.progress_bar() as bar,
        Segmenter.from_bundle(load_bundle(bundle), options) as segmenter,
    ):
        task = bar.add_task("", total=None)

        def show(study: QualityStudy) -> None:
            write_results(results, study)  # a study that is stopped leaves what it has
            one = study.scans[-1]
            text = f"{one.scan}, {one.artifact} {one.strength:g}"
            bar.update(task, advance=1, description=text)

        study = run_study(paths, phantoms, every, segmenter, show)
    console.print_line(summary_of(study))


def rescans(
    label_maps: Annotated[Path, typer.Argument(help="Folder of label maps of heads.")],
    out: Annotated[Path, typer.Option(help="Folder for what is measured; what is there is kept.")],
    heads: Annotated[int, typer.Option(min=1, help="Heads of each kind.")] = 12,
    results: ResultsOption = None,
) -> None:
    """Compare scans of one head: what differs without a change, and which changes are found.

    It takes minutes for each head, and can be stopped at any time.
    """
    with console.require_extra("cpu,export,itk"):
        from benchmarks.dev.studies.rescans.study import run_study
        from wmh_train.synthesis.cohort import find_images
    require_writable(results)
    with console.progress_bar() as bar:
        task = bar.add_task("scanning heads again", total=2 * heads)
        study = run_study(
            out,
            find_images(label_maps),
            heads=heads,
            workers=available_cores(),
            on_head=lambda: bar.advance(task),
        )
    for one in (*study.rescans, *study.sensitivity):
        console.print_line(one.model_dump_json())
    write_results(results, study)


def _begin(bar: Progress, name: str) -> FitDisplay:
    """Print the name of a network, and return what shows the progress of its training."""
    from wmh_train.display import FitDisplay

    console.print_line(name)
    return FitDisplay(bar)
