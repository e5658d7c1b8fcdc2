"""Where this machine keeps what it found out for itself. Deleting it loses time, nothing else."""

from __future__ import annotations

import logging
from pathlib import Path

from platformdirs import user_cache_path

from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import write_bytes_atomically
from wmh_runtime.files.folders import make_folder

_log = logging.getLogger(__name__)


def user_cache_folder() -> Path:
    """Return the folder, which may not be there yet, or not be writable."""
    return user_cache_path("wmh-lora")


def read_cache(path: Path) -> bytes:
    """Return what a file of the cache holds; nothing where there is none that can be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def write_cache(path: Path, content: bytes, otherwise: str) -> None:
    """Write a file of the cache; where that is impossible, warn and go on.

    Args:
        path: in the cache folder.
        content: of the file.
        otherwise: what the warning says is lost.
    """
    try:
        make_folder(path.parent)
        write_bytes_atomically(path, content)
    except InputError as error:
        _log.warning("%s: %s", otherwise, error)
