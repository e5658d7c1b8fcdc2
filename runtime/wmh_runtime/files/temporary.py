"""Temporary files: their names, and the removal of those that killed processes have left."""

from __future__ import annotations

import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from wmh_runtime.files.process import ProcessId, this_process


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
        is_alone: True: no other process writes there now, so all of this machine are removed.
    """
    for path in _temporary_files(folder):
        writer = _writer_of(path)
        if writer is None:
            continue
        if writer.has_ended or (is_alone and writer.host == this_process().host):
            _remove(path)


def remove_temporary_files_of(writer: ProcessId, folder: Path) -> None:
    """Remove the temporary files and folders of a process that writes no more, on any machine.

    Args:
        writer: the process.
        folder: folder to clean up; its subfolders are not searched.
    """
    for path in _temporary_files(folder):
        if _writer_of(path) == writer:
            _remove(path)


def _writer_of(path: Path) -> ProcessId | None:
    named, _, _ = path.name.removeprefix(TEMPORARY_PREFIX).rpartition("-")
    return ProcessId.parse(named)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # another process has removed it
            path.unlink()


def _temporary_files(folder: Path) -> list[Path]:
    try:
        return list(folder.glob(f"{TEMPORARY_PREFIX}*"))
    except OSError:  # the folder has too long a name, or cannot be read: nothing is in it
        return []


TEMPORARY_PREFIX = ".wmh-partial-"


def is_temporary(path: Path) -> bool:
    """Return whether a path is that of a temporary file, by its name."""
    return path.name.startswith(TEMPORARY_PREFIX)


def temporary_path_beside(final: Path) -> Path:
    """Return a new temporary path that contains the names of this machine and process.

    It is in the folder of `final`, because a rename is atomic only within one file system, and has
    the same suffixes.
    """
    suffixes = "".join(final.suffixes[-2:])  # .nii.gz
    token = secrets.token_hex(4)
    return final.parent / f"{TEMPORARY_PREFIX}{this_process()}-{token}{suffixes}"
