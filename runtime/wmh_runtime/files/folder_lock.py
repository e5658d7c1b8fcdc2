"""Lock an output folder for one run at a time. The system releases the lock if the run dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from wmh_runtime.errors import InputError
from wmh_runtime.files.os_errors import reason_of

LOCK_NAME = ".wmh-lock"


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder while the block runs.

    Raises:
        InputError: another run uses the folder, or its file system has no locks.
    """
    lock = FileLock(folder / LOCK_NAME, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        advice = "Wait for it to end, or choose another output folder."
        raise InputError("another run writes to it", advice, about=folder) from error
    except (OSError, NotImplementedError) as error:
        reason = reason_of(error)
        problem = f"cannot be locked ({reason})"
        raise InputError(problem, "Choose a folder on another disk.", about=folder) from error
    try:
        yield
    finally:
        lock.release()
