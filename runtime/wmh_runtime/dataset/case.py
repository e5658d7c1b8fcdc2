"""A case: one scan to segment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.dataset.contrast import IN_DOUBT, contrast_from_names


@dataclass(frozen=True)
class Case:
    """One scan to segment."""

    path: Path
    relative: Path  # to the input folder; results get the same relative path

    @property
    def contrast(self) -> str | None:
        """The contrast that the names say, None if they say none."""
        return contrast_from_names(self.relative)

    def warnings(self, channel: str) -> tuple[str, ...]:
        """Return a warning if the names say, or may say, another contrast than the model's.

        Args:
            channel: of the model, such as `flair` or `t1`.
        """
        if self.contrast is None or self.contrast.lower() == channel:
            return ()
        if self.contrast in IN_DOUBT and channel == "flair":
            return (f"its name says {self.contrast}: check that it is a T2-weighted FLAIR scan",)
        return (f"its name says {self.contrast}, but the model is for {channel.upper()}",)
