"""What a report shows. The templates know these classes only, not the files of the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from wmh_runtime.outputs.pictures.slice_layers import SlicePictures
from wmh_runtime.outputs.reviews import Review
from wmh_runtime.outputs.sidecar import QualityResult
from wmh_runtime.report.pages import ReportPage


@dataclass(frozen=True)
class LesionRow:
    """One of the largest lesions of a scan. None: not known."""

    number: int  # from 1, the largest first
    volume_mm3: float
    where: str  # location, side and region of an atlas; empty: not known
    center_ras_mm: tuple[float, float, float]
    extent_mm: tuple[float, float, float] | None
    mean_probability: float | None
    largest_slice: int | None  # axial, from 1 at the most inferior


@dataclass(frozen=True)
class RegionRow:
    """The lesions in one location or region, with its two halves. None: not known."""

    name: str
    lesion_ml: float
    lesion_count: int
    left_ml: float | None
    right_ml: float | None
    percent_of_region: float | None


@dataclass(frozen=True)
class RegionTable:
    """The lesions by location or region."""

    title: str
    rows: Sequence[RegionRow]


@dataclass(frozen=True)
class Links:
    """Addresses of files, relative to the report and percent-encoded. Empty: there is no file."""

    mask: str
    probability: str
    sidecar: str
    picture: str
    viewer: str


@dataclass(frozen=True)
class ScanEntry:
    """The result for one output of one scan. All texts can be written as UTF-8."""

    anchor: str  # the part of an address after `#`
    scan: str
    output: str
    participant: str
    session: str
    run: str
    mask_sha256: str
    volume_ml: float
    percent_of_brain: float | None
    lesion_count: int
    band: str  # of lesion load
    facts: Sequence[str]
    warnings: Sequence[str]
    quality: Sequence[QualityResult]
    lesion_volumes_mm3: Sequence[float]  # of all lesions
    largest: Sequence[LesionRow]
    regions: Sequence[RegionTable]
    provenance: Sequence[tuple[str, str]]
    links: Links
    pictures: SlicePictures | None
    is_excluded: bool  # by a reader, from the summary

    @property
    def name(self) -> str:
        """Participant, session and run."""
        return " ".join(filter(None, (self.participant, self.session, self.run)))

    @property
    def flags(self) -> list[QualityResult]:
        """The quality measures that are out of their bounds."""
        return [one for one in self.quality if one.warning]


@dataclass(frozen=True)
class ChangeRow:
    """What changed from one visit of a subject to the next."""

    earlier: str
    later: str
    change_ml: float
    uncertainty_ml: float
    counts: Sequence[int]  # of lesions in each class
    picture: str  # address; empty: there is none

    @property
    def is_beyond_uncertainty(self) -> bool:
        """Whether the volume changed by more than scans of an unchanged head differ by."""
        return abs(self.change_ml) > self.uncertainty_ml


@dataclass(frozen=True)
class ChangeEntry:
    """The change of one subject over time."""

    subject: str
    course: Markup  # plot of the volume, SVG
    rows: Sequence[ChangeRow]
    warnings: Sequence[str]
    table: str  # address of the table of lesions; empty: there is none


@dataclass(frozen=True)
class Failure:
    """A scan without a result, or a subject whose visits were not compared."""

    name: str
    step: str  # that failed
    reason: str


@dataclass(frozen=True)
class ModelUse:
    """A model as it was used, and for how many results."""

    name: str
    model_id: str
    output: str
    threshold: float
    min_lesion_mm3: float
    backend: str
    device: str
    precision: str
    tta: str
    version: str  # of this program
    result_count: int


@dataclass(frozen=True)
class Quartiles:
    """Median and quartiles of a cohort."""

    first: float
    median: float
    third: float


@dataclass(frozen=True)
class Cohort:
    """The summary of the results of one output."""

    output: str
    count: int
    volume_ml: Quartiles
    lesion_count: Quartiles
    percent_of_brain: Quartiles | None  # None: the brain is not known
    warned: int
    flagged: int
    by_band: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Report:
    """Everything that one page of a report shows."""

    title: str
    entries: Sequence[ScanEntry]  # of this page
    page: ReportPage
    pages: Sequence[ReportPage]  # all of them
    result_count: int  # of all pages
    failures: Sequence[Failure]  # of scans
    not_compared: Sequence[Failure]  # subjects
    skipped_count: int
    model_warnings: Sequence[str]  # that apply to every result
    models: Sequence[ModelUse]
    cohorts: Sequence[Cohort]
    reviews: Sequence[Review]
    changes: Sequence[ChangeEntry]
