"""A case: one scan to segment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One scan to segment."""

    path: Path
    relative: Path  # to the input folder; results get the same relative path
