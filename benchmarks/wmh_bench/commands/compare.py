"""`wmh-bench compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wmh_bench.commands.options import write_pictures
from wmh_bench.compare import compare as compare_results
from wmh_bench.comparison_table import comparison_table
from wmh_bench.pictures.comparison import draw_comparison
from wmh_bench.results import read_result
from wmh_runtime.cli import console
from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.folders import make_writable_folder


def compare(
    results: Annotated[list[Path], typer.Argument(help="JSON files of wmh-bench.")],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for the table and the pictures.")
    ],
) -> None:
    """Compare results of one or several machines in a table and a picture."""
    folders = [path.resolve().parent.name for path in results]
    comparison = compare_results([read_result(path) for path in results], folders)
    if not (comparison.slice_speeds or comparison.folder_speeds):
        advice = "Add results of latency, throughput or baseline."
        raise InputError("no result contains a speed", advice)
    make_writable_folder(out)
    text = comparison_table(comparison)
    write_text_atomically(out / "comparison.md", text)
    console.print_line(text)
    if comparison.slice_speeds:
        write_pictures(out / "comparison.png", lambda theme: draw_comparison(comparison, theme))
    console.print_line(f"Written to {out}")
