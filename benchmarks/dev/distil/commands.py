"""The command that compares a student with its teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.dev.results_file import ResultsOption, require_writable, write_results
from wmh_runtime.cli import console
from wmh_runtime.cli.options import parse_precision, parse_tta


def add_distillation(app: typer.Typer) -> None:
    """Add the command to a command line."""
    app.command()(distillation)


def distillation(
    teacher: Annotated[str, typer.Argument(help="Bundle of the teacher.")],
    student: Annotated[str, typer.Argument(help="Bundle of the student.")],
    data: Annotated[Path, typer.Argument(help="Folder of annotated scans that neither has seen.")],
    scans: Annotated[int, typer.Option(min=1, help="How many of them, by name.")] = 12,
    backend: Annotated[str, typer.Option(help="As in wmh-infer.")] = "openvino",
    precision: Annotated[str, typer.Option(help="As in wmh-infer.")] = "bf16",
    tta: Annotated[str, typer.Option(help="As in wmh-infer.")] = "none",
    turns: Annotated[int, typer.Option(min=1, help="Runs of each model, in turns.")] = 1,
    results: ResultsOption = None,
) -> None:
    """Compare a student with its teacher: Dice, and seconds from files to files."""
    with console.require_extra("cpu,openvino,export"):
        from benchmarks.dev.distil.comparison import compare_models
        from benchmarks.dev.timed_run import RunOptions
    require_writable(results)
    options = (backend, parse_precision(precision), parse_tta(tta))
    of_teacher, of_student = (RunOptions(bundle, *options) for bundle in (teacher, student))
    with console.steps() as on_step:
        measured = compare_models(of_teacher, of_student, data, scans, turns, on_step)
    for model in (measured.teacher, measured.student):
        console.print_line(
            f"{model.name}: mean Dice {model.mean_dice:.3f}, {model.seconds_per_scan:.1f} s a scan"
        )
    console.print_line(
        f"the student has {100 * measured.share_of_dice:.1f} % of the Dice and is"
        f" {measured.speedup:.1f} times as fast"
    )
    write_results(results, measured)
