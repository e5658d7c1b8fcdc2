"""Create folders, check that they are writable, and walk through them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_runtime.files.os_errors import reason_of
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
            f"cannot be created ({reason_of(error)})", "Choose another folder.", about=folder
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
            f"cannot be written to ({reason_of(error)})",
            "Check its permissions and the disk, or choose another folder.",
            about=folder,
        ) from error


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden; temporary files are, too."""
    return name.startswith(".")


def walk(
    folder: Path,
    on_unreadable: Callable[[OSError], None] = lambda _: None,
    except_for: Path | None = None,
    on_loop: Callable[[Path], None] = lambda _: None,
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Walk through a folder and its subfolders, in sorted order.

    Links are followed, and each is a folder of its own: two links to one folder are two folders.
    Only a link to a folder that contains it is not followed, as this would never end.

    Args:
        folder: the top folder.
        on_unreadable: called with the error for each folder that cannot be read.
        except_for: a folder that is not visited. It is ignored if it does not exist or is the top
            folder.
        on_loop: called with each link to a folder that contains it.

    Yields:
        The same as `os.walk`: a folder, the names of its subfolders and the names of its files.
        The list of subfolders can be shortened in place to change the walk.
    """
    branch: list[tuple[Path, object]] = []  # the folders above, and their identities
    excluded = _identity(except_for) if except_for and except_for.is_dir() else None
    for current, subfolders, names in os.walk(folder, onerror=on_unreadable, followlinks=True):
        path = Path(current)
        while branch and branch[-1][0] != path.parent:
            branch.pop()
        identity = _identity(path)
        is_loop = identity in [above for _, above in branch]
        if is_loop or (branch and identity == excluded):
            subfolders.clear()
            if is_loop:
                on_loop(path)
            continue
        branch.append((path, identity))
        subfolders.sort()
        yield path, subfolders, sorted(names)


def _identity(folder: Path) -> object:
    """Return what two paths to one folder have in common."""
    try:
        status = folder.stat()
    except OSError:  # it has just been removed
        return os.fspath(folder)
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(folder)
