"""The command that measures the start and the memory of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.dev.results_file import ResultsOption, require_writable, write_results
from wmh_runtime.cli import console


def add_start_up(app: typer.Typer) -> None:
    """Add the command to a command line."""
    app.command("start-up")(start_up)


def start_up(
    scan: Annotated[Path, typer.Argument(help="A FLAIR scan.")],
    bundle: Annotated[str, typer.Option(help="As in wmh-infer.")] = "base",
    backend: Annotated[str, typer.Option(help="As in wmh-infer.")] = "onnxruntime",
    precision: Annotated[str, typer.Option(help="As in wmh-infer.")] = "fp32",
    tta: Annotated[str, typer.Option(help="As in wmh-infer.")] = "full",
    turns: Annotated[int, typer.Option(min=1, help="Runs after the first one.")] = 3,
    results: ResultsOption = None,
) -> None:
    """Measure time to the first slice, time and peak memory of a run."""
    with console.require_extra("cpu,openvino,export"):
        from benchmarks.dev.start_up.measure import measure_start_up
        from benchmarks.dev.timed_run import RunOptions
    require_writable(results)
    options = RunOptions(bundle, backend, precision, tta)
    with console.steps() as on_step:
        measured = measure_start_up(scan, options, turns, on_step)
    for name, cost in (("first use", measured.first_use), ("last run", measured.later[-1])):
        console.print_line(
            f"{name}: first slice after {cost.first_slice_s:.2f} s, {cost.seconds:.1f} s in all,"
            f" {cost.peak_memory_mb / 1000:.2f} GB"
        )
    write_results(results, measured)
