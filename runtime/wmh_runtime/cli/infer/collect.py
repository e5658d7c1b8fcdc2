"""`wmh-infer collect`: make the tables and the report of a folder of results again."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from wmh_runtime.claims.claims import Claims
from wmh_runtime.cli import console
from wmh_runtime.cohort.collect import collect as collect_folder
from wmh_runtime.errors import InputError
from wmh_runtime.outputs.failures import read_failures
from wmh_runtime.outputs.paths import CLAIMS_FOLDER, VOLUMES_NAME
from wmh_runtime.outputs.tables.results import FAILURES_NAME
from wmh_runtime.report.pages import REPORT_NAME

app = console.command_line("Make the tables and the report of a folder of results.")


@app.command(**console.ONLY_COMMAND)
def collect(
    out: Annotated[Path, typer.Argument(help="Folder of results of wmh-infer.")],
) -> None:
    """Make tables and report of all results and failures in a folder.

    Every run of wmh-infer ends with this. Use it after a run that was killed, after corrections of
    masks by hand, or after results were copied together.
    """
    if not out.is_dir():
        raise InputError("is no folder", "Give the folder of results of a run.", about=out)
    with Claims(out / CLAIMS_FOLDER) as claims:
        remarks = collect_folder(out, claims, partial(read_failures, out))
    for line in remarks:
        console.print_warning(f"{out}: {line}")
    for name in (VOLUMES_NAME, FAILURES_NAME, REPORT_NAME):
        if (out / name).exists():
            console.print_line(f"{out / name}")
