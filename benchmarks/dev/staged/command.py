"""`python -m benchmarks.dev staged-learning`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from wmh_runtime.cli import console
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.machine import available_cores


def staged_learning(
    label_maps: Annotated[Path, typer.Argument(help="Folder of label maps of heads.")],
    lesion_masks: Annotated[Path, typer.Argument(help="Folder of masks of real lesions.")],
    out: Annotated[Path, typer.Option(help="Folder for everything; what is there is kept.")],
    vgg16: Annotated[
        Path | None,
        typer.Option(help="Weights of torchvision's vgg16_bn. Without: from drawn pictures."),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="JSON file to write the results to.", show_default=False)
    ] = None,
) -> None:
    """Compare learning in stages with learning from a dozen masks of experts only.

    Five networks learn from heads of four synthetic scanners, and are scored on those of three
    others. It takes about four hours on two cores, and can be stopped at any time.
    """
    with console.require_extra("cpu,export,itk"):
        from benchmarks.dev.staged.study import StudyListener, run_study
        from wmh_train.display import FitDisplay
        from wmh_train.synthesis.cohort import Sources, find_images
    with console.progress_bar() as bar:

        def begin(name: str, total: int) -> Callable[[], None]:
            task = bar.add_task(name, total=total)
            return lambda: bar.advance(task)

        def begin_training(name: str) -> FitDisplay:
            console.print_line(name)
            return FitDisplay(bar)

        result = run_study(
            Sources(find_images(label_maps), find_images(lesion_masks)),
            out,
            available_cores(),
            StudyListener(begin, begin_training, console.print_warning),
            vgg16=vgg16,
        )
    for one in result.scores:
        console.print_line(one.model_dump_json())
    console.print_line(f"Comparison: {out / 'comparison' / 'summary.md'}")
    if results is not None:
        write_text_atomically(results, result.model_dump_json(indent=2) + "\n")
