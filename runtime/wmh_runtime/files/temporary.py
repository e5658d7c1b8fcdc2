"""Temporary files: their names, and the removal of those that killed processes have left."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from contextlib import suppress
from pathlib import Path

import psutil


def remove_folder(folder: Path) -> None:
    """Remove a folder, if it exists, so that no process ever sees a part of it."""
    renamed = temporary_path_beside(folder)
    with suppress(FileNotFoundError):
        folder.rename(renamed)
        shutil.rmtree(renamed, ignore_errors=True)


def remove_temporary_files(folder: Path, *, is_alone: bool = False) -> None:
    """Remove temporary files and folders of processes on this machine that were killed.

    Temporary files of running processes, and of other machines that share the disk, are kept.

    Args:
        folder: folder to clean up; its subfolders are not searched.
        is_alone: True: no other process on this machine writes there now. A temporary file with
            the ID of a running process is then from an earlier process with the same ID.
    """
    prefix = temporary_prefix()
    for path in _temporary_files(folder, prefix):
        process_id = path.name.removeprefix(prefix).partition("-")[0]
        if not process_id.isdigit():
            continue
        if not is_alone and psutil.pid_exists(int(process_id)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):  # another process has removed it
                path.unlink()


def _temporary_files(folder: Path, prefix: str) -> list[Path]:
    try:
        return list(folder.glob(f"{prefix}*"))
    except OSError:  # the folder has too long a name, or cannot be read: nothing is in it
        return []


TEMPORARY_PREFIX = ".wmh-partial-"


def is_temporary(path: Path) -> bool:
    """Return whether a path is that of a temporary file, by its name."""
    return path.name.startswith(TEMPORARY_PREFIX)


def temporary_prefix() -> str:
    """Return the first part of temporary names on this machine; the process ID follows."""
    host = "".join(c if c.isalnum() else "_" for c in socket.gethostname())
    return f"{TEMPORARY_PREFIX}{host}-"


def temporary_path_beside(final: Path) -> Path:
    """Return a new temporary path that contains the names of this machine and process.

    It is in the folder of `final`, because a rename is atomic only within one file system, and has
    the same suffixes.
    """
    suffixes = "".join(final.suffixes[-2:])  # .nii.gz
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    return final.parent / f"{temporary_prefix()}{token}{suffixes}"
