"""Create folders, check that they are writable, and walk through them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_runtime.files.temporary import TEMPORARY_PREFIX


def make_folder(folder: Path) -> None:
    """Create a folder and its parent folders.

    Raises:
        InputError: the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        advice = "Choose another folder."
        raise InputError("is a file, not a folder", advice, about=folder) from error
    except OSError as error:
        raise InputError(
            f"cannot be created ({error.strerror or error})", "Choose another folder.", about=folder
        ) from error


def make_writable_folder(folder: Path) -> None:
    """Create a folder and check that files can be written to it.

    Call this before a long computation, not after it.

    Raises:
        InputError: the folder cannot be created, or is not writable.
    """
    make_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=TEMPORARY_PREFIX):
            pass
    except OSError as error:
        raise InputError(
            f"cannot be written to ({error.strerror or error})",
            "Check its permissions and the disk, or choose another folder.",
            about=folder,
        ) from error


def walk(
    folder: Path, on_unreadable: Callable[[OSError], None] = lambda _: None
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Walk through a folder and its subfolders. Links are followed; each folder is visited once.

    Args:
        folder: the top folder.
        on_unreadable: called with the error for each folder that cannot be read.

    Yields:
        The same as `os.walk`: a folder, the names of its subfolders and the names of its files.
        The list of subfolders can be sorted or shortened in place to change the walk.
    """
    seen: set[Path] = set()
    for current, subfolders, names in os.walk(folder, onerror=on_unreadable, followlinks=True):
        real = Path(current).resolve()
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        yield Path(current), subfolders, names
