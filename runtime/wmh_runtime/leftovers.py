"""Removing folders, and what killed processes left, where several processes are at work."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import psutil

from wmh_runtime.atomic import partial_beside, prefix_here


def discard(folder: Path) -> None:
    """Remove a folder so that nobody finds half of it; nothing where it is not there."""
    aside = partial_beside(folder)
    with suppress(FileNotFoundError):
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(folder: Path, *, is_alone: bool = False) -> None:
    """Remove the files and folders that killed processes of this machine left unfinished.

    What belongs to a living process, or to another machine that shares the disk, stays.

    Args:
        folder: to look in; not below it.
        is_alone: nobody else on this machine writes there now: what has the number of a living
            process was left by one that had it before.
    """
    mine = prefix_here()
    for leftover in folder.glob(f"{mine}*"):
        process_id = leftover.name.removeprefix(mine).partition("-")[0]
        if not process_id.isdigit():
            continue
        if not is_alone and psutil.pid_exists(int(process_id)):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            with suppress(OSError):  # another process was faster
                leftover.unlink()
