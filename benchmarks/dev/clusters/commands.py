"""Commands that run many processes, Slurm and Ray on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmarks.dev.results_file import ResultsOption, require_writable, write_results
from wmh_runtime.cli import console


def add_cluster_commands(app: typer.Typer) -> None:
    """Add the commands to a command line."""
    for command in (engines, scale, soak):
        app.command()(command)


def engines(
    results: ResultsOption = None,
    scans: Annotated[int, typer.Option(min=4, help="Synthetic heads.")] = 60,
    seconds: Annotated[float, typer.Option(help="Time of the device for each batch.")] = 0.1,
) -> None:
    """Segment with one process, four, Slurm and Ray, also killed, and compare bytes and times.

    The device only sleeps. Slurm and Ray run on this machine, which needs root for Slurm.
    """
    from benchmarks.dev.clusters.comparison import compare_engines

    require_writable(results)
    with console.steps() as on_step:
        measured = compare_engines(scans, seconds, on_step)
    for one in measured.engines:
        same = "same bytes" if one.same_bytes else "OTHER BYTES"
        console.print_line(
            f"{one.engine}: {one.seconds:.1f} s, efficiency {one.efficiency:.0%}; with"
            f" {len(one.kills)} kills {one.seconds_with_kills:.1f} s; {same}"
        )
    write_results(results, measured)


def scale(
    scans: Annotated[int, typer.Argument(min=1000, help="Number of scans.")],
    results: ResultsOption = None,
) -> None:
    """Measure what grows with the number of scans: discovery, claims, tables, report, status."""
    from benchmarks.dev.clusters.scale import measure_scale

    require_writable(results)
    with console.steps() as on_step:
        measured = measure_scale(scans, on_step)
    console.print_line(measured.model_dump_json(indent=2, exclude={"machine"}))
    write_results(results, measured)


def soak(
    results: ResultsOption = None,
    kills: Annotated[int, typer.Option(min=4, help="Over all engines.")] = 100,
    inputs: Annotated[int, typer.Option(min=100, help="Damaged files.")] = 20_000,
) -> None:
    """Kill, fill disks, damage files for an hour or two. Exit status: 0 no fault, 1 some faults.

    Slurm, Ray, disks and clocks are of this machine, which needs root for some of them.
    """
    from benchmarks.dev.clusters.soak.soak import soak as make_trouble

    require_writable(results)
    with console.steps() as on_step:
        measured = make_trouble(kills, inputs, on_step)
    write_results(results, measured)
    faults = list(measured.faults)
    for fault in faults:
        console.print_error(fault)
    console.print_line(f"{len(faults)} faults")
    if faults:
        raise typer.Exit(console.EXIT_SOME_FAILED)
