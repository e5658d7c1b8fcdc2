"""Scans and results in object storage: copies of what is needed, while it is needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wmh_runtime.cohort.sharing.status import EXPECTED
from wmh_runtime.dataset.bids import (
    DESCRIPTION_NAME,
    LONGITUDINAL,
    SIDECAR_SUFFIX,
    SLICES_SUFFIX,
)
from wmh_runtime.dataset.bids_dataset import IGNORE_NAME
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import WmhError
from wmh_runtime.files.case_failure import LOG_NAME
from wmh_runtime.imageio.image_files import image_files
from wmh_runtime.outputs.bids_derivative import README_NAME
from wmh_runtime.outputs.failures import FAILURES_FOLDER
from wmh_runtime.outputs.paths import STATE_FOLDER, VOLUMES_NAME, OutputPaths
from wmh_runtime.outputs.reviews import REVIEWS_NAME
from wmh_runtime.outputs.sidecar import read_sidecar
from wmh_runtime.outputs.tables.regions import REGIONS_NAME
from wmh_runtime.outputs.tables.results import CHANGES_NAME, FAILURES_NAME
from wmh_runtime.outputs.tables.skipped import SKIPPED_NAME
from wmh_runtime.report.pages import is_page
from wmh_runtime.storage.mirror import Mirror, Need

_INPUTS_OF_TABLES = (SIDECAR_SUFFIX, SLICES_SUFFIX)
_TABLES = {
    str(Path(name).with_suffix(suffix))
    for name in (VOLUMES_NAME, REGIONS_NAME, FAILURES_NAME, CHANGES_NAME, SKIPPED_NAME)
    for suffix in (".csv", ".json")
}
_FOLDER_FILES = (REVIEWS_NAME, DESCRIPTION_NAME, IGNORE_NAME, README_NAME)  # users may change them


@dataclass(frozen=True)
class StoredFiles:
    """The files of a job that are in object storage. Several threads may use it.

    Whatever is on this machine anyway is left alone: then all of this does nothing.

    Args:
        scans: None: they are on this machine.
        results: likewise.
    """

    scans: Mirror | None = None
    results: Mirror | None = None

    def with_versions(self, case: Case) -> Case:
        """Return a case with the versions of its images in the storage."""
        if self.scans is None:
            return case
        images = {case.channel: case.path, **case.others}
        versions = {
            channel: "+".join(map(self.scans.version_of, image_files(path)))
            for channel, path in images.items()
        }
        return replace(case, versions=versions)

    def are_of_same_scan(self, case: Case, paths: Iterable[OutputPaths]) -> bool:
        """Return whether results are of the images as they are stored now, without reading them.

        Args:
            case: from `with_versions`; without versions, it is not known.
            paths: of the results.
        """
        if not case.versions or not all(case.versions.values()):
            return False
        sidecars = [read_sidecar(to.sidecar) for to in paths]
        return all(
            one is not None
            and {channel: image.version for channel, image in one.channels.items()} == case.versions
            for one in sidecars
        )

    def recall_results(self, files: Sequence[Path], failure: Path) -> None:
        """Look for the results of a case, and its failure, that other runs may have stored.

        Args:
            files: of the results.
            failure: record of it.

        Raises:
            InputError: the storage cannot be read.
        """
        if self.results is not None:
            self.results.recall(files, _need_of_case)
            self.results.reread([failure])

    def fetch_images(self, images: Iterable[Path], user: str) -> None:
        """Copy images to this machine, for a case; InputError if one is gone or cannot be read."""
        if self.scans is not None:
            self.scans.fetch(_files_of(images), user)

    def fetch_results(self, files: Iterable[Path], user: str) -> None:
        """Copy files of results to this machine, as far as there are any; InputError."""
        if self.results is not None:
            self.results.fetch(files, user)

    def store_results(
        self, files: Sequence[Path], sidecars: Sequence[Path], require_claim: Callable[[], None]
    ) -> None:
        """Store the files of a case. While its sidecars are there, all files are those of one run.

        Args:
            files: those that do not exist are removed from the storage.
            sidecars: written last.
            require_claim: called before the first of them, and before the sidecars; what it raises
                is raised.

        Raises:
            InputError: an object cannot be written or removed.
        """
        if self.results is not None:
            require_claim()
            self.results.remove(sidecars)
            self.results.store(files)
            require_claim()
            self.results.store(sidecars)

    def discard_results(self, files: Iterable[Path]) -> None:
        """Remove files of a case that are not stored, because it failed or another run has it."""
        if self.results is not None:
            self.results.discard(files)

    def store_failure(self, record: Path) -> None:
        """Store the record of a failure, or remove it from the storage; InputError."""
        if self.results is not None:
            self.results.store([record])

    def release(self, images: Iterable[Path], results: Iterable[Path], user: str) -> None:
        """Free the space of a case that is done."""
        if self.scans is not None:
            self.scans.release(_files_of(images), user)
        if self.results is not None:
            self.results.release(results, user)

    def reread_folder_files(self, out: Path) -> None:
        """Copy what is of the whole output folder and other runs may have changed; InputError."""
        if self.results is not None:
            self.results.reread(out / name for name in (*_FOLDER_FILES, EXPECTED))

    def fetch_for_tables(self) -> None:
        """Copy what tables and report are made of; InputError."""
        if self.results is not None:
            self.results.refresh(need_of_tables)

    def store_folder_files(self, out: Path) -> None:
        """Store what this run has changed of the files of the whole output folder; InputError."""
        if self.results is not None:
            names = {path.name for path in out.iterdir()} | set(self.results.names)
            files = sorted(out / name for name in names if is_folder_file(name))
            self.results.store([*files, out / EXPECTED], only_changed=True)

    def shown(self, text: str) -> str:
        """Return a text for the user: with addresses instead of the paths of copies."""
        for mirror in (self.scans, self.results):
            if mirror is not None:
                text = text.replace(str(mirror.folder), mirror.objects.address)
        return text

    def error_with_addresses(self, error: WmhError) -> WmhError:
        """Return an error about objects instead of their copies."""
        about = error.about if error.about is None else self.shown(str(error.about))
        return type(error)(self.shown(error.problem), self.shown(error.remedy), about=about)


NOT_STORED = StoredFiles()  # all files are on this machine


def _files_of(images: Iterable[Path]) -> list[Path]:
    return [file for image in images for file in image_files(image)]


def is_folder_file(name: str) -> bool:
    """Return whether a name is that of a file of the whole output folder, such as a table."""
    return name in (*_FOLDER_FILES, LOG_NAME, *_TABLES) or is_page(name)


def need_of_run(own: Collection[str]) -> Callable[[str], Need]:
    """Return what a run needs of the objects of the output folder when it begins.

    Args:
        own: paths of the files of its cases, relative to the folder.
    """

    def need(path: str) -> Need:
        if path in own:
            return _need_of_case(path)
        return _need_of_folder_file(path)

    return need


def _need_of_case(path: str) -> Need:
    return "content" if path.endswith(SIDECAR_SUFFIX) else "name"


def need_of_tables(path: str) -> Need:
    """Return what is needed of an object of the output folder to make the tables and the report."""
    of_folder = _need_of_folder_file(path)
    if of_folder != "nothing" or path.startswith(f"{STATE_FOLDER.as_posix()}/"):
        return of_folder
    is_of_changes = path.startswith(f"{LONGITUDINAL.as_posix()}/") and path.endswith(".json")
    return "content" if path.endswith(_INPUTS_OF_TABLES) or is_of_changes else "name"


def need_of_status(path: str) -> Need:
    """Return what is needed of an object of the output folder to say how far the runs are."""
    if _is_of_status(path):
        return "content"
    return "name" if path.endswith(SIDECAR_SUFFIX) else "nothing"


def _need_of_folder_file(path: str) -> Need:
    """Return what is needed of a file that is of the whole output folder."""
    if _is_of_status(path):
        return "content"
    if not is_folder_file(path):
        return "nothing"
    return "name" if is_page(path) else "content"


def _is_of_status(path: str) -> bool:
    """Return whether an object says how many scans there are, or what failed."""
    return path == EXPECTED.as_posix() or path.startswith(f"{FAILURES_FOLDER.as_posix()}/")
