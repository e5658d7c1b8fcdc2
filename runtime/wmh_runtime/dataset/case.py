"""A case: one scan to segment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.dataset.contrast import FLAIR, contrast_from_names


@dataclass(frozen=True)
class Case:
    """One scan to segment."""

    path: Path
    relative: Path  # to the input folder; results get the same relative path

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning if the names say that the image is no FLAIR; empty otherwise."""
        contrast = contrast_from_names(self.relative)
        if contrast in (None, FLAIR):
            return ()
        return (f"its name says {contrast}, but the model is for FLAIR",)
