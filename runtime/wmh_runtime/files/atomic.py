"""Write files and folders atomically: the final name appears only when the content is complete."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wmh_runtime.files.os_errors import input_error
from wmh_runtime.files.temporary import temporary_path_beside


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a temporary path; rename it to `final` when the block ends without an exception.

    On any exception, including Ctrl-C, the temporary file is removed and an existing `final` is
    not changed.

    Raises:
        InputError: the file cannot be written. Every OSError in the block becomes this error.
    """
    temporary = temporary_path_beside(final)
    try:
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(final)
    except OSError as error:
        raise input_error(error, "cannot be written", final) from error
    finally:
        with suppress(OSError):  # report the original error, not this one
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(final: Path, *, keep_existing: bool = False) -> Iterator[Path]:
    """Yield a temporary folder; rename it to `final` when the block ends without an exception.

    On any exception the temporary folder is removed.

    Args:
        final: the folder to create.
        keep_existing: if another process has created `final` in the meantime, keep that folder,
            because it may be in use, and remove this one. By default this is an error.

    Raises:
        OSError: the folder cannot be created.
    """
    temporary = temporary_path_beside(final)
    temporary.mkdir()
    try:
        yield temporary
        try:
            temporary.rename(final)
        except OSError:
            if not (keep_existing and final.is_dir()):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes_atomically(final: Path, data: bytes) -> None:
    """Write bytes to a file; raise InputError if that is not possible."""
    with atomic_path(final) as temporary:
        temporary.write_bytes(data)


def write_text_atomically(final: Path, text: str) -> None:
    """Write text as UTF-8 with unchanged line ends; raise InputError if that is not possible.

    Characters that UTF-8 cannot encode, as in some file names, are written as escapes.
    """
    write_bytes_atomically(final, text.encode("utf-8", errors="backslashreplace"))


def write_json_atomically(final: Path, content: object) -> None:
    """Write a JSON file; raise InputError if that is not possible."""
    write_text_atomically(final, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def remove(path: Path) -> None:
    """Remove a file if it exists; raise InputError if that is not possible."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise input_error(error, "cannot be replaced", path) from error


def flush_folder(folder: Path) -> None:
    """Write the names of the files in a folder to the disk, where the system can do that."""
    if os.name != "posix":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _flush_to_disk(path: Path) -> None:
    with path.open("r+b") as file:  # Windows flushes only files that are open for writing
        os.fsync(file.fileno())
