"""Scans and results in object storage: copies of what is needed, while it is needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wmh_runtime.claims.claim_objects import ClaimObjects
from wmh_runtime.claims.claim_store import ClaimStore
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
from wmh_runtime.outputs.paths import CLAIMS_FOLDER, STATE_FOLDER, VOLUMES_NAME, OutputPaths
from wmh_runtime.outputs.reviews import REVIEWS_NAME
from wmh_runtime.outputs.sidecar import read_sidecar
from wmh_runtime.outputs.tables.regions import REGIONS_NAME
from wmh_runtime.outputs.tables.results import CHANGES_NAME, FAILURES_NAME
from wmh_runtime.outputs.tables.skipped import SKIPPED_NAME
from wmh_runtime.report.pages import is_page
from wmh_runtime.storage.mirror import Mirror, Need

_INPUTS_OF_TABLES = (SIDECAR_SUFFIX, SLICES_SUFFIX)
_TABLES = {VOLUMES_NAME, REGIONS_NAME, FAILURES_NAME, CHANGES_NAME, SKIPPED_NAME}
_FOLDER_FILES = {DESCRIPTION_NAME, IGNORE_NAME, README_NAME, REVIEWS_NAME, LOG_NAME}


@dataclass(frozen=True)
class StoredFiles:
    """The files of a job that are in object storage. Several threads may use it.

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
        versions = {channel: self._version(path) for channel, path in images.items()}
        return replace(case, versions=versions)

    def are_of_same_scan(self, case: Case, paths: Iterable[OutputPaths]) -> bool:
        """Return whether results are of the images as they are stored now, without reading them.

        Args:
            case: from `with_versions`.
            paths: of the results.
        """
        sidecars = [read_sidecar(to.sidecar) for to in paths]
        return bool(case.versions) and all(
            one is not None
            and {channel: image.version for channel, image in one.channels.items()} == case.versions
            for one in sidecars
        )

    @property
    def claims(self) -> ClaimStore | None:
        """The claims of the results in object storage; None: the results are on this machine."""
        if self.results is None:
            return None
        return ClaimObjects(self.results.objects, CLAIMS_FOLDER.as_posix())

    def recall_results(self, files: Sequence[Path]) -> None:
        """Look for the results of a case that another run may have stored meanwhile; InputError."""
        if self.results is not None:
            self.results.recall(files, _need_of_case)

    def fetch_images(self, images: Iterable[Path]) -> None:
        """Copy images to this machine; InputError if one is gone or cannot be read."""
        if self.scans is not None:
            self.scans.fetch(self._files(images))

    def fetch_results(self, files: Iterable[Path]) -> None:
        """Copy files of results to this machine, as far as there are any; InputError."""
        if self.results is not None:
            self.results.fetch(files)

    def store_results(self, files: Sequence[Path], sidecars: Sequence[Path]) -> None:
        """Store the files of a case. While its sidecars are there, all files are those of one run.

        Args:
            files: those that do not exist are removed from the storage.
            sidecars: written last.

        Raises:
            InputError: an object cannot be written or removed.
        """
        if self.results is not None:
            self.results.remove(sidecars)
            self.results.store([*files, *sidecars])

    def store(self, file: Path) -> None:
        """Store one file of the output folder, or remove it from the storage; InputError."""
        if self.results is not None:
            self.results.store([file])

    def drop(self, images: Iterable[Path], results: Iterable[Path]) -> None:
        """Free the space of a case that is done."""
        if self.scans is not None:
            self.scans.drop(self._files(images))
        if self.results is not None:
            self.results.drop(results)

    def collect(self, out: Path, make_tables: Callable[[], list[str]]) -> list[str]:
        """Make tables and report of all results in the storage, and store them.

        Should other runs store results meanwhile, they are made again. So whichever run ends last,
        its tables are of all results.

        Args:
            out: the folder that stands for the output folder.
            make_tables: makes them in that folder; returns what is to be known.

        Raises:
            InputError: the storage cannot be used.
        """
        if self.results is None:
            return make_tables()
        self.results.refresh(need_of_tables)
        while True:
            before, known = self.results.version_of_all(is_input_of_tables), _folder_files(out)
            remarks = make_tables()
            self.results.store(sorted(known | _folder_files(out)))
            self.results.refresh(need_of_tables)
            if self.results.version_of_all(is_input_of_tables) == before:
                return remarks

    def store_folder_files(self, out: Path) -> None:
        """Store the files that are of the whole output folder; InputError."""
        if self.results is not None:
            self.results.store([*sorted(_folder_files(out)), out / EXPECTED])

    def name_of(self, path: Path) -> str:
        """Return the address of what a file is a copy of; of another file, its path."""
        for mirror in (self.scans, self.results):
            if mirror is not None and mirror.has(path):
                return mirror.address_of(path)
        return str(path)

    def with_addresses(self, error: WmhError) -> WmhError:
        """Return an error about objects instead of their copies."""
        about = self.name_of(error.about) if isinstance(error.about, Path) else error.about
        problem, remedy = map(self._with_addresses, (error.problem, error.remedy))
        return type(error)(problem, remedy, about=about)

    def _with_addresses(self, text: str) -> str:
        for mirror in (self.scans, self.results):
            if mirror is not None:
                text = text.replace(str(mirror.folder), mirror.objects.address)
        return text

    def _version(self, path: Path) -> str:
        return (
            "+".join(self.scans.version_of(one) for one in image_files(path)) if self.scans else ""
        )

    def _files(self, images: Iterable[Path]) -> list[Path]:
        return [file for image in images for file in image_files(image)]


def _folder_files(out: Path) -> set[Path]:
    """Return the files that are of a whole output folder, such as tables and the report."""
    return {path for path in out.iterdir() if _is_folder_file(path.name)}


def _is_folder_file(name: str) -> bool:
    return name in _FOLDER_FILES or Path(name).with_suffix(".csv").name in _TABLES or is_page(name)


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
    if path == EXPECTED.as_posix() or path.startswith(f"{FAILURES_FOLDER.as_posix()}/"):
        return "content"
    return "name" if path.endswith(SIDECAR_SUFFIX) else "nothing"


def is_input_of_tables(path: str) -> bool:
    """Return whether tables have to be made again when an object changes."""
    failures = f"{FAILURES_FOLDER.as_posix()}/"
    return path.endswith(SIDECAR_SUFFIX) or path.startswith(failures)


def _need_of_folder_file(path: str) -> Need:
    """Return what is needed of a file that is of the whole output folder."""
    if path == EXPECTED.as_posix() or path.startswith(f"{FAILURES_FOLDER.as_posix()}/"):
        return "content"
    if not _is_folder_file(path):
        return "nothing"
    return "name" if is_page(path) else "content"
