"""Turn what one case has raised into its failure, in one line. So the other cases can go on.

An error that is neither of this project nor of the system is a bug of this program. Its traceback
is appended to a log in the output folder.
"""

from __future__ import annotations

import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from wmh_runtime.errors import InputError, UnexpectedError, WmhError
from wmh_runtime.files.os_errors import input_error, reason_of

LOG_NAME = "errors.log"
MORE_MEMORY = "Close other programs, or use a machine with more memory."

_MAX_CHARACTERS = 200  # of the text of an unexpected error


def case_failure(
    error: Exception, about: Path, log_folder: Path, *, hides_values: bool = False
) -> WmhError:
    """Return the failure of a case. It keeps no traceback, which would keep the voxels.

    Args:
        error: what was raised.
        about: file of the case; an error of this project may name another one.
        log_folder: for the traceback of an unexpected error.
        hides_values: the text of an unexpected error may hold data of a patient: neither the
            failure nor the log has it.
    """
    match error:
        case InputError(about=named) if named is not None:
            return type(error)(error.problem, error.remedy, about=named)
        case WmhError():
            return type(error)(f"{error}", about=about)
        case MemoryError():
            return InputError("does not fit into memory", MORE_MEMORY, about=about)
        case OSError():
            return input_error(error, "cannot be processed", about)
        case _:
            return _unexpected(error, about, log_folder / LOG_NAME, hides_values=hides_values)


@contextmanager
def as_failure_of(about: Path, log_folder: Path) -> Iterator[None]:
    """Raise what the block raises as the failure of a case, see `case_failure`."""
    try:
        yield
    except Exception as error:
        raise case_failure(error, about, log_folder) from None


def _unexpected(error: Exception, about: Path, log: Path, *, hides_values: bool) -> UnexpectedError:
    name = type(error).__name__
    text = name if hides_values or not str(error) else f"{name}: {error}"
    shown = textwrap.shorten(text, _MAX_CHARACTERS, placeholder=" …")
    lines = traceback.format_exception(error)
    if hides_values:
        lines = [*traceback.format_tb(error.__traceback__), name]
    try:
        _append(log, f"{about}\n{''.join(lines)}")
        remedy = f"This is a bug of this program. Report it with the end of {log}."
    except OSError as reason:
        remedy = f"This is a bug of this program. {log} cannot be written ({reason_of(reason)})."
    return UnexpectedError(f"unexpected error ({shown})", remedy, about=about)


def _append(log: Path, entry: str) -> None:
    time = datetime.now().astimezone().isoformat(timespec="seconds")
    with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"{time} wmh-lora {version('wmh-lora')} {entry}\n")
