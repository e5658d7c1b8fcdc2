"""Where this machine keeps what it found out for itself. Deleting it loses time, nothing else."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path

from wmh_runtime.folders import make_writable_folder


def cache_folder() -> Path:
    """Return the folder, made if needed.

    Raises:
        InputError: it cannot be made or written to.
    """
    folder = user_cache_path("wmh-lora")
    make_writable_folder(folder)
    return folder
