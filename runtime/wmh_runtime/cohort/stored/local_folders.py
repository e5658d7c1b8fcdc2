"""Folders of this machine for scans and results that are in object storage."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from wmh_runtime.cohort.job import Job
from wmh_runtime.cohort.stored.stored_files import StoredFiles, need_of_run
from wmh_runtime.dataset.bids import DESCRIPTION_NAME
from wmh_runtime.dataset.bids_dataset import IGNORE_NAME
from wmh_runtime.dataset.image_formats import is_image
from wmh_runtime.errors import InputError
from wmh_runtime.storage.address import is_address, last_part, path_below
from wmh_runtime.storage.mirror import Mirror, Need
from wmh_runtime.storage.object_folder import ObjectFolder

_PREFIX = "wmh-"  # of folders for temporary files
_CONTENT_NEEDED = (DESCRIPTION_NAME, IGNORE_NAME)  # to find the scans of a data set


@dataclass(frozen=True)
class LocalFolders:
    """Folders of scans and of results on this machine.

    Those of scans and results in object storage have a file for each object that matters, which is
    empty as long as only its name is needed.
    """

    source: Path
    out: Path
    stored: StoredFiles | None = None  # None: both are folders of this machine

    def job_with_storage(self, job: Job) -> Job:
        """Return a job in these folders that copies from the storage, and to it.

        Raises:
            InputError: the job cannot use object storage, or the storage cannot be used.
        """
        if self.stored is None:
            return job
        if job.is_longitudinal:
            advice = "Copy the folders to a disk first."
            raise InputError("needs scans and results on a disk", advice, about="longitudinal")
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
    if not is_address(source) and not is_address(out):
        yield LocalFolders(Path(source), Path(out))
        return
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        work = Path(name)
        scans = _mirror(str(source), work / "scans") if is_address(source) else None
        results = _mirror(str(out), work / "results") if is_address(out) else None
        if scans is not None:
            scans.refresh(_need_of_search(_results_in(str(source), str(out))))
            if not any(is_image(path) for path in scans.folder.rglob("*")):
                problem = "has no NIfTI or MGH image"
                advice = "Check the address. Copy DICOM files to a disk first."
                raise InputError(problem, advice, about=source)
        yield LocalFolders(
            scans.folder if scans else Path(source),
            results.folder if results else Path(out),
            StoredFiles(scans, results),
        )


@contextmanager
def local_results(
    out: Path | str, need: Callable[[str], Need]
) -> Iterator[tuple[Path, StoredFiles | None]]:
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
        yield Path(out), None
        return
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as work:
        results = _mirror(str(out), Path(work))
        results.refresh(need)
        yield results.folder, StoredFiles(results=results)


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
