"""A job: which scans to segment, with which bundle, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.change.folder import ChangeOutcome
from wmh_runtime.change.longitudinal_table import TableVisit
from wmh_runtime.change.record import ChangeRecord
from wmh_runtime.cohort.case.atlas import Atlas
from wmh_runtime.cohort.sharing.shard import Shard
from wmh_runtime.cohort.sharing.status import FolderStatus
from wmh_runtime.cohort.stored.stored_files import NOT_STORED, StoredFiles
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import Discovery
from wmh_runtime.dataset.manual_masks import NO_MANUAL_MASKS, ManualMasks
from wmh_runtime.dataset.subjects import subject_of_scan
from wmh_runtime.errors import InputError, WmhError
from wmh_runtime.files.process import ProcessId
from wmh_runtime.files.reading import real_path
from wmh_runtime.inference.backend_selection import OpenBackends
from wmh_runtime.inference.segmenter import SegmentationModel
from wmh_runtime.outputs.paths import (
    NO_EXTRAS,
    Extras,
    LabelMapPaths,
    OutputPaths,
    output_paths,
    region_paths,
)
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.text import as_utf8
from wmh_runtime.tta import Tta

if TYPE_CHECKING:  # needs optional libraries
    from wmh_runtime.dicom.scans import DicomScans


@dataclass(frozen=True)
class Job:
    """What to do.

    Raises:
        InputError: the bundle predicts no lesions, or no regions, which were requested.
    """

    found: Discovery
    out: Path
    bundle: Bundle
    outputs: Sequence[Output]  # the bundle's, or with other thresholds and minimum lesion sizes
    tta: Tta = "full"
    extras: Extras = NO_EXTRAS
    overwrite: bool = False
    fail_fast: bool = False  # begin no more cases after the first failure
    any_backend: bool = False  # keep results of another backend in the same precision
    regions_bundle: Bundle | None = None  # that the regions are from; None: the bundle
    manual: ManualMasks = NO_MANUAL_MASKS  # corrected; to use instead of the network's
    atlas: Atlas | None = None  # of the user: lesions are located in it, too
    reviewed: Path | None = None  # marks of readers, besides those in the output folder
    is_longitudinal: bool = False  # compare the visits of each subject
    visit_table: Mapping[str, Sequence[TableVisit]] | None = None  # None: as the names say
    register: bool = False  # register the further images of a case to the first
    dicom: DicomScans | None = None  # that the cases are converted from; None: they are files
    stored: StoredFiles = NOT_STORED  # what is in object storage
    threads: int | None = None  # CPU threads for all of the work; None: one per core
    origin: Path | None = None  # folder that the scans were converted from; None: that of `found`
    knows_all: bool = False  # `found` has all scans of the input folder
    shard: Shard | None = None  # of the scans that were found; None: all of them

    def __post_init__(self) -> None:
        """Refuse what the bundle cannot do; InputError."""
        if not self.outputs:
            advice = "Give it as the bundle for regions, besides a bundle for lesions."
            raise InputError("predicts regions only", advice, about=self.bundle.folder)
        of_regions = self.regions_bundle or self.bundle
        needs_regions = self.regions_bundle or (self.extras.regions and not self.atlas)
        if needs_regions and not of_regions.manifest.regions:
            advice = "Leave the option for regions out, or use a bundle that predicts them."
            raise InputError("predicts no regions of the brain", advice, about=of_regions.folder)
        if (
            self.regions_bundle
            and self.regions_bundle.manifest.model_id == self.bundle.manifest.model_id
        ):
            problem = "is given as the bundle for lesions and as that for regions"
            raise InputError(problem, "Leave the second one out.", about=of_regions.folder)
        channels = self.bundle.manifest.channels
        needed = of_regions.manifest.channels
        if self.bundle.manifest.interchangeable or of_regions.manifest.interchangeable:
            needed = [] if set(needed) & set(channels) else needed
        if lacking := [channel for channel in needed if channel not in channels]:
            problem = f"needs {', '.join(lacking).upper()}, which the bundle for lesions does not"
            raise InputError(problem, "Use another bundle for regions.", about=of_regions.folder)

    @cached_property
    def cases(self) -> Sequence[Case]:
        """The scans to segment. All visits of a subject are in one shard if they are compared."""
        if self.shard is None:
            return self.found.scans
        return self.shard.of(self.found.scans, self._group_of)

    def _group_of(self, case: Case) -> str:
        if not self.is_longitudinal:
            return case.relative.as_posix()
        if self.visit_table is None:
            return subject_of_scan(case.relative)
        return self._subjects_of_table.get(real_path(case.path), case.relative.as_posix())

    @cached_property
    def _subjects_of_table(self) -> Mapping[Path, str]:
        table = self.visit_table or {}
        return {real_path(row.scan): subject for subject, rows in table.items() for row in rows}

    @property
    def model(self) -> SegmentationModel:
        """What decides a mask besides the network."""
        return SegmentationModel.from_bundle(self.bundle, self.outputs, self.tta)

    def with_files(self, case: Case) -> Case:
        """Return a case whose images are there; InputError: they cannot be converted."""
        return case if self.dicom is None else self.dicom.convert(case)

    def paths(self, case: Case) -> list[OutputPaths]:
        """Name the files of a case, for each output."""
        return [output_paths(self.out, case.relative, output.name) for output in self.outputs]

    def claim_of(self, case: Case) -> str:
        """Name the claim of a case: the path of its first mask in the output folder."""
        return self.paths(case)[0].mask.relative_to(self.out).as_posix()

    @property
    def name_clashes(self) -> frozenset[Path]:
        """The masks that would be those of several scans."""
        counts = Counter(self.paths(case)[0].mask for case in self.found.scans)
        return frozenset(mask for mask, count in counts.items() if count > 1)

    def result_files(self, case: Case) -> list[Path]:
        """Name all files that a case may have, but for the sidecars."""
        regions = [file for one in self.region_paths(case).values() for file in one.files]
        return [*regions, *(file for paths in self.paths(case) for file in paths.files)]

    @property
    def source(self) -> str:
        """Path or address of the input folder, as it is kept in the output folder."""
        if self.stored.scans is not None:
            return self.stored.scans.objects.address
        return as_utf8((self.origin or self.found.root).resolve().as_posix())

    def name_of(self, path: Path) -> str:
        """Return what a file is called for the user: its path, or its address in the storage."""
        return self.stored.shown(str(path))

    @property
    def link(self) -> str:
        """URI of the input folder for the results; empty: as seen from the output folder."""
        if self.stored == NOT_STORED:
            return ""
        return self.source if self.stored.scans else self.found.root.resolve().as_uri()

    def region_paths(self, case: Case) -> dict[str, LabelMapPaths]:
        """Name the files of a case's regions, by scheme."""
        return region_paths(self.out, case.relative)


@dataclass
class Outcome:
    """What became of the cases, in their order."""

    done: list[Case] = field(default_factory=list)  #: segmented in this run
    kept: list[Case] = field(default_factory=list)  #: finished by another run
    failed: list[tuple[Case, WmhError]] = field(default_factory=list)  #: with the reason
    changes: ChangeOutcome = field(default_factory=ChangeOutcome)  #: of subjects, over time
    folder: FolderStatus | None = None  #: how far the runs with other shards are


class Progress:
    """Called with the progress of a job, in the caller's thread. The default ignores it."""

    def discovered(self, job: Job) -> None:
        """The folder has been searched for scans."""

    def opened(self, opened: OpenBackends) -> None:
        """The bundle is ready to run."""

    def begun(self, where: str) -> None:
        """The first cases are about to be segmented, with this backend."""

    def predicted(self, case: Case, share: float) -> None:
        """This share of the network's work for a case is done, 0 to 1."""

    def done(self, case: Case, sidecars: Sequence[Sidecar], *, kept: bool) -> None:
        """A case is finished, or was finished by another run; one sidecar for each output."""

    def waiting(self, cases: Sequence[Case], owner: ProcessId | None) -> None:
        """Other runs still work on these cases; the owner has the first one."""

    def held_up(self, owner: ProcessId | None) -> None:
        """Another run begins to work on the same folder; this one waits for it."""

    def comparing(self, subjects: int) -> None:
        """The visits of this many subjects will be compared."""

    def compared(self, subject: str, found: ChangeRecord | WmhError) -> None:
        """The visits of a subject were compared, or could not be."""

    def failed(self, case: Case, error: WmhError) -> None:
        """A case could not be segmented."""

    def warned(self, line: str) -> None:
        """There is something to know about the output folder."""

    def aborted(self) -> None:
        """The user asked again. The run waits for the devices only; this may be called again."""

    def stopping(self, running: int) -> None:
        """The user asked to stop; this many cases are still being finished."""
