"""Folders that appear whole or not at all, written by several processes at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from wmh_runtime.atomic import partial_beside, prefix_here


@contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """Yield a new folder to write to, which becomes `final` when the block ends well.

    Where another process was faster, its folder stays and this one is dropped: somebody may be
    reading it. Whatever ends the block early, nothing is left.

    Raises:
        OSError: the folder cannot be written.
    """
    partial = partial_beside(final)
    partial.mkdir()
    try:
        yield partial
        try:
            partial.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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
