"""Folders of this machine for scans and results that are in object storage."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from wmh_runtime.cohort.job import Job
from wmh_runtime.cohort.stored.stored_files import NOT_STORED, StoredFiles, need_of_run
from wmh_runtime.dataset.bids import DESCRIPTION_NAME
from wmh_runtime.dataset.bids_dataset import IGNORE_NAME
from wmh_runtime.dataset.image_formats import is_image
from wmh_runtime.errors import InputError, WmhError
from wmh_runtime.files.temporary import remove_temporary_files, temporary_path_beside
from wmh_runtime.storage.address import is_address, last_part, path_below, require_slashes
from wmh_runtime.storage.mirror import Mirror, Need
from wmh_runtime.storage.object_folder import ObjectFolder
from wmh_runtime.text import count_noun

_CONTENT_NEEDED = (DESCRIPTION_NAME, IGNORE_NAME)  # to find the scans of a data set


@dataclass(frozen=True)
class LocalFolders:
    """Folders of scans and of results on this machine.

    Those of scans and results in object storage have a file for each object that matters, which is
    empty as long as only its name is needed.
    """

    source: Path
    out: Path
    stored: StoredFiles = NOT_STORED
    remarks: Sequence[str] = ()  # what is to be known about the storage

    def job_with_storage(self, job: Job) -> Job:
        """Return a job in these folders that copies from the storage, and to it.

        Raises:
            InputError: the job cannot use object storage, or the storage cannot be used.
        """
        if self.stored == NOT_STORED:
            return job
        if job.is_longitudinal:
            advice = "Copy the folders to a disk first."
            raise InputError("needs scans and results on a disk", advice, about="longitudinal")
        if job.dicom is not None:
            advice = "Choose a folder on a disk."
            problem = "needs results on a disk, since scans are converted to files there"
            raise InputError(problem, advice, about="DICOM")
        if self.stored.results is not None:
            own = {
                file.relative_to(self.out).as_posix()
                for case in job.cases
                for file in (*job.result_files(case), *(to.sidecar for to in job.paths(case)))
            }
            self.stored.results.refresh(need_of_run(own))
        return replace(job, stored=self.stored)


@contextmanager
def local_folders(source: Path | str, out: Path | str) -> Iterator[LocalFolders]:
    """Return folders of this machine for scans and results, wherever they are.

    Copies of objects are in the folder for temporary files, and are removed after the block.

    Args:
        source: path, or address in object storage, such as `s3://bucket/scans`.
        out: likewise.

    Raises:
        InputError: the storage cannot be used, or has no image.
    """
    for place in (source, out):
        require_slashes(place)
    if not is_address(source) and not is_address(out):
        yield LocalFolders(Path(source), Path(out))
        return
    with _work_folder() as work:
        scans = _mirror(str(source), work / "scans") if is_address(source) else None
        results = _mirror(str(out), work / "results") if is_address(out) else None
        stored = StoredFiles(scans, results)
        with _with_addresses(stored):
            remarks = _search(scans, _results_in(str(source), str(out))) if scans else []
            yield LocalFolders(
                scans.folder if scans else Path(source),
                results.folder if results else Path(out),
                stored,
                remarks,
            )


@contextmanager
def local_results(
    out: Path | str, need: Callable[[str], Need]
) -> Iterator[tuple[Path, StoredFiles]]:
    """Return a folder of this machine for results, wherever they are, with what is needed of them.

    Args:
        out: path, or address in object storage.
        need: returns for the path of an object below the address what is needed of it.

    Raises:
        InputError: the folder does not exist, or the storage cannot be used.
    """
    if not is_address(out):
        if not Path(out).is_dir():
            raise InputError("is no folder", "Give the folder of results of a run.", about=out)
        yield Path(out), NOT_STORED
        return
    with _work_folder() as work:
        results = _mirror(str(out), work)
        stored = StoredFiles(results=results)
        with _with_addresses(stored):
            results.refresh(need)
            yield results.folder, stored


@contextmanager
def _work_folder() -> Iterator[Path]:
    """Make a folder for the block, among the temporary files; remove those of killed runs."""
    temporary = Path(tempfile.gettempdir())
    remove_temporary_files(temporary)
    work = temporary_path_beside(temporary / "wmh-infer")
    work.mkdir(mode=0o700)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _with_addresses(stored: StoredFiles) -> Iterator[None]:
    """Raise the errors of the block as errors about objects."""
    try:
        yield
    except WmhError as error:
        raise stored.error_with_addresses(error) from error


def _search(scans: Mirror, results: str | None) -> list[str]:
    """List the input folder; return what is to be known about it.

    Args:
        scans: of the input folder.
        results: path of the results in it, which are not searched; None: they are elsewhere.

    Raises:
        InputError: it cannot be listed, or has no image.
    """
    scans.refresh(_need_of_search(results))
    if not any(is_image(Path(path)) for path in scans.names):
        problem = "has no NIfTI or MGH image"
        advice = "Give the address of a folder. Copy DICOM files to a disk first."
        raise InputError(problem, advice, about=scans.objects.address)
    if not (odd := scans.objects.odd_names):
        return []
    return [
        f"{scans.objects.address}: {count_noun(len(odd), 'object')} left out, such as {odd[0]!r}:"
        " no file can have this name"
    ]


def _mirror(address: str, work: Path) -> Mirror:
    return Mirror(ObjectFolder(address), work / last_part(address))


def _results_in(source: str, out: str) -> str | None:
    """Return where the results are below the scans, which is not searched; None: elsewhere.

    Raises:
        InputError: the results would be mixed with the scans.
    """
    if path_below(source, out) is not None:
        problem = "as output folder would mix the results with the scans"
        raise InputError(problem, "Choose another one, outside the scans.", about=out)
    return path_below(out, source)


def _need_of_search(results: str | None) -> Callable[[str], Need]:
    """Return what is needed of the objects of the input folder to find the scans.

    Args:
        results: path of the results in it, which are not needed; None: they are elsewhere.
    """

    def need(path: str) -> Need:
        if results is not None and path.startswith(f"{results}/"):
            return "nothing"
        return "content" if path in _CONTENT_NEEDED else "name"

    return need
