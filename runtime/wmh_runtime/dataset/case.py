"""A case: one scan to segment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """A scan, and where it lies below the folder that was searched."""

    path: Path
    relative: Path
