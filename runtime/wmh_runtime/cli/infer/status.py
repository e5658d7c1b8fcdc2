"""`wmh-infer status`: how far the runs on a folder of results are."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from wmh_runtime.cli import console
from wmh_runtime.cohort.sharing.shared_folder import claims_in
from wmh_runtime.cohort.sharing.status import FolderStatus, read_status
from wmh_runtime.cohort.stored.local_folders import local_results
from wmh_runtime.cohort.stored.stored_files import need_of_status
from wmh_runtime.files.process import ProcessId
from wmh_runtime.text import count_noun

_SHOWN = 20  # scans that are being segmented, by name
_LOOK_EVERY_S = 5.0
_S_IN_MIN = 60.0

app = console.command_line("Show how far the runs on a folder of results are.")


@app.command(**console.ONLY_COMMAND)
def status(
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder of results of wmh-infer.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every few seconds, until all is done.")
    ] = False,
) -> None:
    """Show how many scans are finished, have failed and are being segmented, by whichever run.

    It counts files, so it works on any machine that sees the folder, and disturbs no run.
    """
    before, started = _read(out), time.monotonic()
    if not watch:
        for line in _lines(before, None):
            console.print_line(line)
        return
    now, left_s = before, None
    with Live(console=console.out, auto_refresh=False) as live:
        while not now.is_complete:
            live.update(Text("\n".join(_lines(now, left_s))), refresh=True)
            time.sleep(_LOOK_EVERY_S)
            now = _read(out)
            left_s = now.seconds_left(before, time.monotonic() - started)
        live.update(Text("\n".join(_lines(now, None))), refresh=True)


def _read(out: str) -> FolderStatus:
    with local_results(out, need_of_status) as (folder, stored):
        return read_status(folder, claims_in(folder, stored))


def _lines(now: FolderStatus, left_s: float | None) -> list[str]:
    of_all = "" if now.expected is None else f" of {now.expected}"
    left = "" if left_s is None else f"; about {left_s / _S_IN_MIN:.0f} min left"
    failed = f", {now.failed} failed" if now.failed else ""
    if not now.has_begun:
        return ["no run has begun on this folder yet"]
    lines = [f"{now.finished}{of_all} scans finished{failed}{left}"]
    lines += [f"at work on {one.of}, by {_owner(one.process)}" for one in now.claims[:_SHOWN]]
    if more := len(now.claims) - _SHOWN:
        lines += [f"and {count_noun(more, 'other')}"] if more > 0 else []
    return lines


def _owner(process: ProcessId | None) -> str:
    if process is None:
        return "another run"
    ended = ", which has ended" if process.has_ended else ""
    return f"process {process.number} on {process.host}{ended}"
