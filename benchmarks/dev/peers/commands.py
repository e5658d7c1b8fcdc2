"""The command that times networks of other programs beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.dev.results_file import ResultsOption, require_writable, write_results
from wmh_runtime.cli import console


def add_peers(app: typer.Typer) -> None:
    """Add the command to a command line."""
    app.command()(peers)


def peers(
    scan: Annotated[Path, typer.Argument(help="A FLAIR scan.")],
    turns: Annotated[int, typer.Option(min=1, help="How often each program is timed.")] = 2,
    results: ResultsOption = None,
) -> None:
    """Time networks of the shapes of other programs, with random weights, and this program."""
    with console.require_extra("cpu,openvino,export"):
        from benchmarks.dev.peers.measure import measure_peers

    require_writable(results)
    with console.steps() as on_step:
        measured = measure_peers(scan, turns, on_step)
    for one in measured.programs:
        what = "whole run" if one.passes is None else f"networks only, {one.passes} passes"
        console.print_line(
            f"{one.program}: {one.seconds:.1f} s ({what}), {one.peak_memory_mb / 1000:.1f} GB"
        )
    write_results(results, measured)
