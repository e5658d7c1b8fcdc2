"""Explain errors while the file of an image is read."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_runtime.files.case_failure import MORE_MEMORY
from wmh_runtime.files.os_errors import input_error

COPY_AGAIN = "Copy or convert the file again."

# Exceptions while a file is read: disk error, truncated file, invalid compressed data (a wrong
# checksum is an OSError), not enough memory.
READ_ERRORS = (OSError, EOFError, zlib.error, MemoryError)


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn errors while a file is opened or read into an InputError."""
    try:
        yield
    except READ_ERRORS as error:
        problem, remedy = _explain_read_error(error)
        raise InputError(problem, remedy, about=path) from error


def _explain_read_error(error: BaseException) -> tuple[str, str]:
    """Return the problem and the remedy for an exception in `READ_ERRORS`."""
    match error:
        case FileNotFoundError(filename=str(name)) if Path(name).is_symlink():
            return "is a link to a file that does not exist", "Fix or remove the link."
        case FileNotFoundError():
            return "does not exist", "Check the path."
        case EOFError():
            return "is truncated: the compressed data end too early", COPY_AGAIN
        case gzip.BadGzipFile() | zlib.error():
            return f"is damaged ({error})", COPY_AGAIN
        case MemoryError():
            return "does not fit into memory", MORE_MEMORY
        case OSError():
            found = input_error(error, "cannot be read", "")
            return found.problem, found.remedy
        case _:
            raise AssertionError(f"not a read error: {error!r}")
