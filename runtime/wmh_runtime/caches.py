"""Where this machine keeps what it found out for itself. Deleting it loses time, nothing else."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """Return the folder, which may not be there yet, or not be writable."""
    return user_cache_path("wmh-lora")
