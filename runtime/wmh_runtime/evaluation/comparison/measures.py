"""The metrics by which models are compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A metric, and how it is shown."""

    column: str  # of metrics.csv
    name: str
    unit: str
    decimals: int
    higher_is_better: bool

    @property
    def title(self) -> str:
        """Name with the unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


# The F-measure of voxels is their Dice coefficient.
MEASURES = (
    Measure("dice", "F-measure", "", 3, higher_is_better=True),
    Measure("iou", "IoU", "", 3, higher_is_better=True),
    Measure("h95_mm", "H95", "mm", 2, higher_is_better=False),
)
