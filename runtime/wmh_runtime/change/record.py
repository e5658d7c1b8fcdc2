"""What is stored of the change of a subject: the content of its JSON file."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from wmh_runtime.change.rules import ChangeClass
from wmh_runtime.files.reading import read_model
from wmh_runtime.schema import StrictModel


class VisitRecord(StrictModel):
    """One visit."""

    label: str
    date: datetime.date | None = Field(description="null: not known")
    scan: str = Field(description="path, as in the tables")
    scan_sha256: str
    mask: str
    mask_sha256: str
    volume_ml: float = Field(description="of the mask as it is")
    is_from_probability: bool = Field(description="false: the boundary is that of the mask")


class ClassRecord(StrictModel):
    """The lesions of one class in an interval."""

    count: int
    before_ml: float = Field(description="of the voxels of the masks, as `after_ml`")
    after_ml: float


class RegistrationRecord(StrictModel):
    """How the later scan was registered to the earlier one."""

    mm: float = Field(description="how far its middle moved")
    degrees: float
    disagreement_mm: float = Field(description="of the two directions, at most")
    similarity: float = Field(description="of both images, 0 to 1, in the brain if it is known")
    before_to_halfway: list[list[float]] = Field(description="4 × 4, RAS+ mm")
    after_to_halfway: list[list[float]] = Field(description="4 × 4, RAS+ mm")


class IntervalRecord(StrictModel):
    """What changed from one visit to the next."""

    earlier: str
    later: str
    days: int | None = Field(description="null: a date is not known")
    before_ml: float = Field(description="of the earlier mask, where both scans show something")
    after_ml: float = Field(description="of the later mask, likewise")
    change_ml: float = Field(description="from the one to the other")
    change_percent: float | None = Field(description="of the earlier volume; null: it is 0")
    uncertainty_ml: float = Field(
        description="of the change: rescans of unchanged heads rarely differ by more"
    )
    classes: dict[ChangeClass, ClassRecord]
    registration: RegistrationRecord
    voxel_mm: float = Field(description="edge of the voxels of the halfway space")
    protocol_differences: list[str] = Field(
        description="of both scans; if there is any, the uncertainties are wider"
    )
    warnings: list[str]

    @property
    def summary(self) -> str:
        """The change in one line."""
        counts = [f"{one.count} {name}" for name, one in self.classes.items() if one.count]
        return (
            f"{self.earlier} to {self.later}: {self.change_ml:+.2f} mL, uncertainty"
            f" {self.uncertainty_ml:.2f} mL; lesions: {', '.join(counts) or 'none'}"
        )


class RulesRecord(StrictModel):
    """The limits of the classes."""

    version: int
    relative_change: float
    smallest_change_mm3: float
    highest_level_of_none: float
    boundary_mm: float
    total_boundary_mm: float
    boundary_of_two_protocols_mm: float
    total_boundary_of_two_protocols_mm: float
    link_gap_mm: float


class ChangeRecord(StrictModel):
    """The change of one subject."""

    schema_version: Literal[1] = 1
    subject: str
    visits: list[VisitRecord] = Field(min_length=2, description="earliest first")
    intervals: list[IntervalRecord]
    rules: RulesRecord
    inputs_sha256: str = Field(description="of all files, dates and rules that decide the result")
    versions: dict[str, str]

    @property
    def warnings(self) -> list[str]:
        """Of all intervals."""
        return [warning for interval in self.intervals for warning in interval.warnings]


def read_change_record(path: Path) -> ChangeRecord | None:
    """Return the record in a file; None if it is not one of this version."""
    return read_model(path, ChangeRecord)
