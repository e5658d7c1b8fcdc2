"""The cache of this user on this machine. It can be deleted at any time; this only costs time."""

from __future__ import annotations

import logging
from pathlib import Path

from platformdirs import user_cache_path

from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import write_bytes_atomically
from wmh_runtime.files.folders import make_folder

_log = logging.getLogger(__name__)


def user_cache_folder() -> Path:
    """Return the cache folder. It may not exist, or not be writable."""
    return user_cache_path("wmh-lora")


def read_cache(path: Path) -> bytes:
    """Return the content of a cache file; empty if there is none, or if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def write_cache(path: Path, content: bytes, warning: str) -> None:
    """Write a cache file; if that is not possible, log a warning.

    Args:
        path: path in the cache folder.
        content: content of the file.
        warning: text of the warning; the reason is added.
    """
    try:
        make_folder(path.parent)
        write_bytes_atomically(path, content)
    except InputError as error:
        _log.warning("%s: %s", warning, error)
