"""Folders: made and tried before hours of work depend on them, and walked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_runtime.files.temporary import TEMPORARY_PREFIX


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        InputError: that is impossible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        advice = "Choose another name or folder."
        raise InputError("is a file, not a folder", advice, about=folder) from error
    except OSError as error:
        raise InputError(
            f"cannot be made ({error.strerror or error})", "Choose another folder.", about=folder
        ) from error


def make_writable_folder(folder: Path) -> None:
    """Make a folder and find out whether files can be written to it.

    Raises:
        InputError: they cannot.
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
    """Walk a folder and those below it, linked ones included, each real one once.

    Args:
        folder: to begin with.
        on_unreadable: is told of each folder that cannot be read.

    Yields:
        As `os.walk`: a folder, the names of its subfolders, which may be sorted and left out in
        place before going on, and the names of its files.
    """
    seen: set[Path] = set()
    for place, subfolders, names in os.walk(folder, onerror=on_unreadable, followlinks=True):
        real = Path(place).resolve()
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        yield Path(place), subfolders, names
