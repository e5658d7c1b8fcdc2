"""Files and folders that appear whole or not at all: nothing half-written carries a final name."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_runtime.files.temporary import temporary_path_beside

_REMEDIES = {
    errno.ENOENT: "Create the folder first.",
    errno.ENOTDIR: "Choose a folder; a part of the path is a file.",
    errno.EISDIR: "Choose another name; a folder has this one.",
    errno.EACCES: "Check that you may write there and that no other program holds the file open.",
    errno.ENOSPC: "Free some space or write to another disk.",
    errno.EROFS: "Write to another disk; this one is read-only.",
}
_OTHER_REMEDY = "Check the folder, its permissions and the disk."


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a path to write to, which becomes `final` when the block ends without an exception.

    Whatever ends the block early, Ctrl-C included, the partial file is removed and a previous
    `final` stays as it was.

    Raises:
        InputError: the file cannot be written. Any OSError of the block is taken for that.
    """
    partial = temporary_path_beside(final)
    try:
        yield partial
        _flush_to_disk(partial)
        partial.replace(final)
    except OSError as error:
        raise _refusal("cannot be written", error, final) from error
    finally:
        with suppress(OSError):  # what went wrong before is what the user should hear of
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(final: Path, *, or_existing: bool = False) -> Iterator[Path]:
    """Yield a new folder to write to, which becomes `final` when the block ends well.

    Whatever ends the block early, nothing is left.

    Args:
        final: the folder that shall appear.
        or_existing: where another process was faster, its folder stays and this one is dropped,
            since somebody may be reading it. Otherwise that is an error.

    Raises:
        OSError: the folder cannot be made.
    """
    partial = temporary_path_beside(final)
    partial.mkdir()
    try:
        yield partial
        try:
            partial.rename(final)
        except OSError:
            if not (or_existing and final.is_dir()):
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_bytes_atomically(final: Path, data: bytes) -> None:
    """Write a file's bytes; InputError where that is impossible."""
    with atomic_path(final) as partial:
        partial.write_bytes(data)


def write_text_atomically(final: Path, text: str) -> None:
    """Write text as UTF-8, its line ends as they are; InputError where that is impossible.

    What UTF-8 cannot say, such as a foreign file name, is written in escapes.
    """
    write_bytes_atomically(final, text.encode("utf-8", errors="backslashreplace"))


def remove(path: Path) -> None:
    """Remove a file if it is there; InputError where that is impossible."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _refusal("cannot be replaced", error, path) from error


def _refusal(problem: str, error: OSError, path: Path) -> InputError:
    reason = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0, _OTHER_REMEDY)
    return InputError(f"{problem} ({reason})", remedy, about=path)


def _flush_to_disk(path: Path) -> None:
    with path.open("r+b") as file:  # Windows flushes only what is open for writing
        os.fsync(file.fileno())
