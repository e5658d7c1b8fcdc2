"""A case: one scan to segment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.dataset.contrast import IN_DOUBT, contrast_from_names
from wmh_runtime.dataset.vocabulary import FLAIR


@dataclass(frozen=True)
class Case:
    """One scan to segment."""

    path: Path
    relative: Path  # to the input folder; results get the same relative path

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning if the names say that the image is, or may be, no FLAIR; empty otherwise."""
        contrast = contrast_from_names(self.relative)
        if contrast in (None, FLAIR):
            return ()
        if contrast in IN_DOUBT:
            return (f"its name says {contrast}: check that it is a T2-weighted FLAIR scan",)
        return (f"its name says {contrast}, but the model is for FLAIR",)
