"""`wmh-infer collect`: make the tables and the report of a folder of results again."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from wmh_runtime.cli import console
from wmh_runtime.cohort.sharing.collect import collect as collect_folder
from wmh_runtime.cohort.sharing.shared_folder import claims_in
from wmh_runtime.cohort.sharing.status import read_status
from wmh_runtime.cohort.stored.local_folders import local_results
from wmh_runtime.cohort.stored.stored_files import need_of_tables
from wmh_runtime.errors import InputError
from wmh_runtime.outputs.existing_results import sidecars_in
from wmh_runtime.outputs.failures import read_failures
from wmh_runtime.outputs.paths import STATE_FOLDER, VOLUMES_NAME
from wmh_runtime.outputs.tables.results import FAILURES_NAME
from wmh_runtime.report.pages import REPORT_NAME
from wmh_runtime.storage.address import path_in
from wmh_runtime.text import count_noun

app = console.command_line("Make the tables and the report of a folder of results.")


@app.command(**console.ONLY_COMMAND)
def collect(
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder of results of wmh-infer.")],
) -> None:
    """Make tables and report of all results and failures in a folder.

    Every run of wmh-infer ends with this. Use it after a run that was killed, or after results
    were copied together. It measures no mask: for corrected masks, run wmh-infer again.
    """
    with (
        local_results(out, need_of_tables) as (folder, stored),
        claims_in(folder, stored) as claims,
    ):
        if not (folder / STATE_FOLDER).is_dir() and not sidecars_in(folder):
            raise InputError("has no results", "Give the folder of results of a run.", about=out)
        remarks = collect_folder(folder, claims, partial(read_failures, folder), stored)
        names = (VOLUMES_NAME, FAILURES_NAME, REPORT_NAME)
        now = read_status(folder, claims)
        written = [name for name in names if (folder / name).exists()]
    for line in remarks:
        console.print_warning(f"{out}: {line}")
    if now.left:
        left = count_noun(now.left, "scan")
        console.print_warning(f"{out}: {left} of {now.expected} not finished: not in the tables")
    for name in written:
        console.print_line(path_in(out, name))
