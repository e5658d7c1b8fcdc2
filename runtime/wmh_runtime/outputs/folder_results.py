"""All results in an output folder, whichever run made them, and which of them are doubtful."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wmh_runtime.dataset import bids
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.files.reading import is_file
from wmh_runtime.outputs.outliers import outlier_warning, volume_z_scores
from wmh_runtime.outputs.paths import VOLUMES_NAME
from wmh_runtime.outputs.reviews import EXCLUDE, Review, Reviews, choose_review, disagreement
from wmh_runtime.outputs.sidecar import (
    Sidecar,
    is_as_written,
    is_unreadable_sidecar,
    read_sidecar,
)
from wmh_runtime.text import as_utf8


@dataclass
class Result:
    """A result in the output folder: its sidecar, and what is known besides."""

    sidecar: Sidecar
    relative: Path  # of the sidecar, to the output folder
    mask_edits: Sequence[str] = ()  # warnings if the mask is not as it was written
    duplicates: Sequence[str] = ()  # scans whose file is the same
    review: Review | None = None  # the mark that counts; None: no reader has marked it
    disagreement: str = ""  # what readers say who disagree
    volume_z: float | None = None  # of the volume among all results; see outliers.py
    outlier: str = ""  # the warning if the volume is an outlier

    @property
    def scan(self) -> Path:
        """Path of the scan, relative to the folder that was searched."""
        return self.relative.parent / self.sidecar.scan_file

    @property
    def output(self) -> str:
        """Name of the output of the model, such as `wmh`."""
        return self.sidecar.settings.output.name

    @property
    def mask(self) -> Path:
        """Path of the mask, relative to the output folder."""
        return self.relative.with_suffix(".nii.gz")

    @property
    def is_review_outdated(self) -> bool:
        """Whether only an earlier mask of this scan was marked."""
        return self.review is not None and self.review.is_outdated(self.sidecar.mask_sha256)

    @property
    def decision(self) -> str:
        """What a reader decided about this mask: accept, edit, exclude; empty: nothing."""
        return self.review.decision if self.review and not self.is_review_outdated else ""

    @property
    def is_excluded(self) -> bool:
        """Whether a reader left it out: then it is in no summary of the folder."""
        return self.decision == EXCLUDE

    @property
    def warnings(self) -> list[str]:
        """What to be careful with: of the mask file, of the cohort, and of the scan itself."""
        others = ", ".join(self.duplicates)
        copies = f"the same file as {others}: count it once" if others else ""
        outdated = ""
        if self.review and self.is_review_outdated:
            outdated = f"the review ({self.review.decision}) is of an earlier mask: repeat it"
        readers = f"readers disagree ({self.disagreement}): the newest decision counts"
        own = filter(None, (outdated, readers if self.disagreement else "", copies, self.outlier))
        return [*self.mask_edits, *own, *self.sidecar.warnings]


@dataclass
class FolderResults:
    """The results in an output folder, sorted by scan, and what is doubtful about them."""

    results: list[Result] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)  # sidecars; they are no results
    edited: list[Path] = field(default_factory=list)  # masks that are not as they were written
    repeated: list[str] = field(default_factory=list)  # scans that are the same file as another
    outdated_reviews: list[str] = field(default_factory=list)  # scans whose mask was made again
    unused_reviews: list[str] = field(default_factory=list)  # scans without a result
    other_folders: list[Path] = field(default_factory=list)  # output folders inside this one


def read_results(
    out: Path,
    reviews: Reviews | None = None,
    failed_scans: Collection[str] = (),
    *,
    reads_masks: bool = True,
) -> FolderResults:
    """Read the results in an output folder.

    Args:
        out: the folder.
        reviews: marks of readers.
        failed_scans: paths of scans whose results are left out: they may be of other files.
        reads_masks: to notice those that are not as they were written.
    """
    found, reviews = FolderResults(), reviews or []
    for path in sorted(filter(is_file, out.rglob(f"*{bids.SIDECAR_SUFFIX}"))):
        if (sidecar := read_sidecar(path)) is not None:
            result = Result(sidecar, path.relative_to(out))
            if reads_masks:
                result.mask_edits = _mask_edits(out / result.mask, sidecar)
            if result.mask_edits:
                found.edited.append(out / result.mask)
            if as_utf8(result.scan.as_posix()) not in failed_scans:
                found.results.append(result)
        elif is_unreadable_sidecar(path):
            found.unreadable.append(path)
    found.results.sort(key=lambda one: (one.scan.as_posix(), one.output))
    inner = {folder for one in found.results for folder in one.relative.parents} - {Path()}
    found.other_folders = sorted(one for one in inner if is_file(out / one / VOLUMES_NAME))
    found.repeated = _find_duplicates(found.results)
    _add_reviews(found, reviews)
    _find_outliers(one for one in found.results if not one.is_excluded)
    return found


def _add_reviews(found: FolderResults, reviews: Reviews) -> None:
    """Add its mark to each result, and note which marks are of no result."""
    of_scans = defaultdict(list)
    for review in reviews:
        of_scans[review.scan].append(review)
    for result in found.results:
        scan, sha256 = as_utf8(result.scan.as_posix()), result.sidecar.mask_sha256
        own = [review for review in of_scans[scan] if review.is_of(scan, result.output)]
        result.review, result.disagreement = choose_review(own, sha256), disagreement(own, sha256)
        if result.is_review_outdated:
            found.outdated_reviews.append(result.scan.as_posix())
    results = {(as_utf8(one.scan.as_posix()), one.output) for one in found.results}
    known = {scan for scan, _ in results}
    found.unused_reviews = sorted(
        one.scan
        for one in reviews
        if one.says_something
        and ((one.scan, one.output) not in results if one.output else one.scan not in known)
    )


def _find_duplicates(results: Iterable[Result]) -> list[str]:
    """Note in each result which other scans are the same file, byte for byte; return them all."""
    by_input = defaultdict(list)
    for result in results:
        by_input[result.sidecar.input_sha256, result.output].append(result)
    repeated: set[str] = set()
    for copies in by_input.values():
        for result in copies:
            others = (other for other in copies if other is not result)
            result.duplicates = sorted(other.scan.as_posix() for other in others)
            if result.duplicates:
                repeated.add(result.scan.as_posix())
    return sorted(repeated)


def _find_outliers(results: Iterable[Result]) -> None:
    """Note in each result how its volume compares with those of the same output."""
    by_output = defaultdict(list)
    for result in results:
        by_output[result.output].append(result)
    for alike in by_output.values():
        scores = volume_z_scores([one.sidecar.volume_ml for one in alike])
        for result, z in zip(alike, scores, strict=True):
            result.volume_z, result.outlier = z, outlier_warning(z, len(alike))


def _mask_edits(mask: Path, sidecar: Sidecar) -> list[str]:
    """Return a warning if a mask is not as it was written, such as one corrected by hand."""
    try:
        if is_as_written(mask, sidecar):
            return []
        problem = "the mask was changed after it was written"
    except OSError as error:
        problem = f"the mask cannot be read ({reason_of(error)})"
    return [
        f"{problem}; volume and lesions are those of the mask as it was written. To use a corrected"
        f" mask, put it into {bids.MANUAL.as_posix()} of the input folder"
    ]
