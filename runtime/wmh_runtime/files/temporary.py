"""Temporary files: their names, and the removal of those that killed processes have left."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
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


def remove_temporary_files_of(writer: ProcessId, folder: Path, *, older_than_s: float) -> None:
    """Remove the temporary files and folders of a process on any machine that seems to be gone.

    Args:
        writer: the process.
        folder: folder to clean up; its subfolders are not searched.
        older_than_s: younger ones are kept, unless the process has ended for sure. Times are
            compared with that of a new file, which has the clock of the file system.
    """
    left = [path for path in _temporary_files(folder) if _writer_of(path) == writer]
    if not left:
        return
    with tempfile.NamedTemporaryFile(dir=folder, prefix=TEMPORARY_PREFIX) as new:
        now_s = os.fstat(new.fileno()).st_mtime
    for path in left:
        with suppress(OSError):  # another process has removed it
            if writer.has_ended or now_s - path.stat().st_mtime >= older_than_s:
                _remove(path)


def _writer_of(path: Path) -> ProcessId | None:
    parts = path.name.removeprefix(TEMPORARY_PREFIX).split("-")
    return ProcessId.parse("-".join(parts[: len(ProcessId._fields)]))


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
