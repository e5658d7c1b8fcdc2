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


def remove_leftovers(folder: Path) -> None:
    """Remove the files and folders that killed processes of this machine left unfinished.

    What belongs to a living process, or to another machine that shares the disk, stays.
    """
    mine = prefix_here()
    for leftover in folder.glob(f"{mine}*"):
        process_id = leftover.name.removeprefix(mine).partition("-")[0]
        if not process_id.isdigit() or psutil.pid_exists(int(process_id)):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            with suppress(OSError):  # another process was faster
                leftover.unlink()
