"""`wmh-bench throughput`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from wmh_bench.commands.options import (
    BundleArgument,
    ResultsOption,
    ThreadsOption,
    require_writable,
    write_pictures,
)
from wmh_bench.pictures.timeline import draw_timeline
from wmh_bench.results import write_result
from wmh_bench.throughput import Throughput, measure_throughput
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.cli import console
from wmh_runtime.cli.options import parse_precision, parse_tta
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.errors import InputError
from wmh_runtime.inference.backend_factory import BackendOptions
from wmh_runtime.inference.backend_selection import AUTO, parse_backend
from wmh_runtime.text import count_noun
from wmh_runtime.tta import first_views


def throughput(
    bundle: BundleArgument,
    scans: Annotated[Path, typer.Argument(help="Folder of FLAIR scans.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to keep the masks in. Default: they are deleted.")
    ] = None,
    backend: Annotated[str, typer.Option(help="As in wmh-infer.")] = AUTO,
    precision: Annotated[str, typer.Option(help="As in wmh-infer.")] = "fp32",
    tta: Annotated[str, typer.Option(help="As in wmh-infer.")] = "full",
    batch: Annotated[int | None, typer.Option(min=1, help="Slices per batch.")] = None,
    threads: ThreadsOption = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG",
            help="Draw what each thread did over time; a second file for dark pages ends with"
            " -dark.png.",
        ),
    ] = None,
    results: ResultsOption = None,
) -> None:
    """Segment a folder, files to files, and compare with the speed of the backend alone."""
    if picture is not None and picture.suffix.lower() != ".png":
        raise InputError(f"is {picture}", "Give a name that ends with .png.", about="--picture")
    opened = load_bundle(bundle)
    mode = parse_tta(tta)
    options = BackendOptions(first_views(mode), parse_precision(precision), batch, threads)
    require_writable(results, picture)
    with tempfile.TemporaryDirectory() as temporary, console.progress_bar() as bar:
        folder = out or Path(temporary) / "out"
        task = bar.add_task("segmenting", total=len(discover(scans, folder).scans))
        measured = measure_throughput(
            *(opened, scans, folder, parse_backend(backend), options, mode),
            on_scan=lambda: bar.advance(task),
        )
    _print(measured)
    if results is not None:
        write_result(results, measured)
    if picture is not None:
        write_pictures(picture, lambda theme: draw_timeline(measured, theme))


def _print(measured: Throughput) -> None:
    console.print_line(
        f"{measured.backend_description} in {measured.precision}, {measured.tta}:"
        f" {count_noun(measured.scans, 'scan')} in {measured.seconds:.1f} s,"
        f" {measured.scans_per_hour:.0f} scans/h, {measured.views_per_s:.4g} views/s,"
        f" {measured.share_of_backend_only:.0%} of the speed of the backend alone"
    )
    console.print_line(
        f"{measured.slices_executed} of {measured.slices} slices executed,"
        f" {measured.slices_in_all_views} of them in all views; the backend was busy"
        f" {measured.backend_busy_share:.0%} of the time; peak memory {measured.peak_memory_mb} MB"
    )
    stages = ", ".join(f"{stage} {s:.2f}" for stage, s in measured.seconds_per_scan.items())
    console.print_line(f"seconds per scan: {stages}")
