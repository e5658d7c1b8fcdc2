"""Removing folders, and what killed processes left, where several processes are at work."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from contextlib import suppress
from pathlib import Path

import psutil


def remove_folder(folder: Path) -> None:
    """Remove a folder so that nobody finds half of it; nothing where it is not there."""
    aside = temporary_path_beside(folder)
    with suppress(FileNotFoundError):
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def remove_temporary_files(folder: Path, *, is_alone: bool = False) -> None:
    """Remove the files and folders that killed processes of this machine left unfinished.

    What belongs to a living process, or to another machine that shares the disk, stays.

    Args:
        folder: to look in; not below it.
        is_alone: nobody else on this machine writes there now: what has the number of a living
            process was left by one that had it before.
    """
    mine = temporary_prefix()
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


TEMPORARY_PREFIX = ".wmh-partial-"


def is_temporary(path: Path) -> bool:
    """Say whether a file is one that was never finished, by its name."""
    return path.name.startswith(TEMPORARY_PREFIX)


def temporary_prefix() -> str:
    """Return how unfinished names of this machine begin; the id of the process follows."""
    host = "".join(c if c.isalnum() else "_" for c in socket.gethostname())
    return f"{TEMPORARY_PREFIX}{host}-"


def temporary_path_beside(final: Path) -> Path:
    """Return a new name for an unfinished file or folder, which tells its machine and process.

    It lies in the folder of `final`, since only within one file system a rename is atomic, and
    ends in the same suffixes.
    """
    suffixes = "".join(final.suffixes[-2:])  # .nii.gz
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    return final.parent / f"{temporary_prefix()}{token}{suffixes}"
