"""The queue of a node on disk. What it holds is decided by files alone, so it survives any crash.

::

    studies/<code>/images/<code>.dcm   received images, with a hash of their content in the name
    studies/<code>/unreleased          its sender has not ended its association in order
    studies/<code>/results/            while they are made, and until they are removed
    records/<code>.json                what became of the study
    outbox/<destination>/<name>.dcm    results to send; removed when the destination has them

A code is a hash of a UID: names in the log and on disk identify nobody. Files appear whole, by a
rename, after their content is on the disk.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict
from pydicom import dcmread

from wmh_runtime.files.atomic import (
    flush_folder,
    write_bytes_atomically,
    write_text_atomically,
)
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.os_errors import input_error
from wmh_runtime.files.reading import read_model
from wmh_runtime.files.temporary import is_temporary, remove_folder, remove_temporary_files
from wmh_runtime.schema import StrictModel

_CODE_DIGITS, _VERSION_DIGITS = 16, 8
_IMAGE = "*.dcm"
_OWNER_ONLY = 0o700

_log = logging.getLogger(__name__)


class StudyRecord(StrictModel):
    """What became of a study. Unknown values, of a later version, are kept out of the way."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    images: str = ""  # digest of the images that the outcome is of
    outcome: Literal["", "done", "no scan", "failed"] = ""
    reason: str = ""
    attempted: str = ""  # digest of the images of the last attempts
    begun: int = 0  # attempts with these images
    failures: int = 0  # of which the program ended with an error
    not_before: float = 0.0  # time of the next attempt, seconds since 1970
    finished: float = 0.0  # likewise
    removed: tuple[str, ...] = ()  # codes of the images that were removed after that

    @property
    def unfinished(self) -> int:
        """Attempts during which the process ended: it was killed, or the study ended it."""
        return self.begun - self.failures


@dataclass(frozen=True)
class QueuedStudy:
    """A study: the folder of its images and results, and the file of its record."""

    folder: Path
    record_path: Path

    @property
    def code(self) -> str:
        """Hash of its UID."""
        return self.folder.name

    @property
    def images_folder(self) -> Path:
        """Holds the received images."""
        return self.folder / "images"

    @property
    def results_folder(self) -> Path:
        """Holds the results."""
        return self.folder / "results"

    @property
    def is_unreleased(self) -> bool:
        """Whether its sender has not ended its association in order: images may be missing."""
        return self._unreleased_path.exists()

    @property
    def last_received_s(self) -> float:
        """Time of the last image, seconds since 1970; 0: there is none."""
        try:
            return self.images_folder.stat().st_mtime
        except OSError:
            return 0.0

    @property
    def images_digest(self) -> str:
        """Hash of which images are there, with their content; empty: none."""
        names = sorted(path.name for path in self._images)
        return hashlib.sha256("\n".join(names).encode()).hexdigest() if names else ""

    @property
    def image_codes(self) -> frozenset[str]:
        """Codes of the UIDs of the images that are there."""
        return frozenset(_code_of_image(path) for path in self._images)

    @property
    def _images(self) -> list[Path]:
        return list(filter(_is_whole, self.images_folder.glob(_IMAGE)))

    @property
    def record(self) -> StudyRecord:
        """What became of it so far. One that cannot be read is set aside."""
        record = read_model(self.record_path, StudyRecord)
        if record is None and self.record_path.exists():
            _log.error("study %s: its record cannot be read, and is set aside", self.code)
            self.record_path.replace(self.record_path.with_suffix(".unreadable"))
        return record or StudyRecord()

    def write(self, record: StudyRecord) -> None:
        """Replace the record; InputError: it cannot be written."""
        write_text_atomically(self.record_path, record.model_dump_json(indent=2) + "\n")

    def mark_released(self) -> None:
        """Note that its sender has ended its association in order."""
        self._unreleased_path.unlink(missing_ok=True)

    def mark_unreleased(self) -> None:
        """Note that its sender is sending; OSError: that cannot be written."""
        self._unreleased_path.touch()

    @property
    def _unreleased_path(self) -> Path:
        return self.folder / "unreleased"


class Queue:
    """The queue in a folder.

    Args:
        folder: made at the first use, for nobody else to read.

    Raises:
        InputError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._studies = folder / "studies"
        self._records = folder / "records"
        self._outbox = folder / "outbox"
        for one in (folder, self._studies, self._records, self._outbox):
            make_folder(one)
        try:
            folder.chmod(_OWNER_ONLY)
        except OSError as error:
            raise input_error(error, "cannot be closed to other users", folder) from error

    def clean_up(self) -> None:
        """Remove what a killed process left half-written."""
        images = [study.images_folder for study in self.studies()]
        outboxes = [path for path in self._outbox.iterdir() if path.is_dir()]
        for folder in (self._studies, self._records, *images, *outboxes):
            remove_temporary_files(folder, is_alone=True)
        for folder in images:
            _keep_latest_versions(folder)

    def add_image(self, study_uid: str, image_uid: str, content: bytes) -> QueuedStudy:
        """Keep a received image; when this returns, it is on the disk.

        Raises:
            InputError: it cannot be written.
        """
        study = self._study(code_of(study_uid))
        code, version = code_of(image_uid), hashlib.sha256(content).hexdigest()[:_VERSION_DIGITS]
        path = study.images_folder / f"{code}-{version}.dcm"
        with self._lock:  # the images of this study may be about to be removed
            make_folder(study.images_folder)
            study.mark_unreleased()
            if not path.exists():
                write_bytes_atomically(path, content)
                for other in study.images_folder.glob(f"{code}-{_IMAGE}"):
                    if other != path:  # as it was before it was corrected
                        other.unlink()
                flush_folder(study.images_folder)
        return study

    def remove_images(self, study: QueuedStudy, record: StudyRecord) -> None:
        """Remove images and results; the record stays, so that the study is not done twice.

        Args:
            study: that is done.
            record: of the study. If other images came since, nothing is removed.

        Raises:
            InputError: the record cannot be written.
        """
        with self._lock:
            if study.images_digest == record.images:
                codes = tuple(sorted(study.image_codes))
                study.write(record.model_copy(update={"removed": codes}))
                remove_folder(study.folder)

    def remove_records(self, age_s: float) -> None:
        """Remove the records of studies that are no longer here and were not touched for so long.

        Args:
            age_s: of the records.
        """
        for path in self._records.glob("*.json"):
            is_old = time.time() - path.stat().st_mtime >= age_s
            if is_old and not self._study(path.stem).folder.exists():
                path.unlink()

    def deliver(
        self,
        study: QueuedStudy,
        results: Sequence[Path],
        destinations: Sequence[str],
        folder: Path | None,
    ) -> None:
        """Put results into the outboxes of destinations, and into a folder.

        Args:
            study: that the results are of.
            results: files.
            destinations: names.
            folder: None: into no folder.

        Raises:
            InputError: a file cannot be written.
        """
        folders = [self.outbox(name) for name in destinations]
        if folder is not None:
            make_folder(folder)
            folders.append(folder)
        for to in folders:
            for result in results:
                # By its UID: a result that is being sent is never replaced by a later one.
                uid = str(dcmread(result, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
                name = f"{study.code}-{code_of(uid)}.dcm"
                write_bytes_atomically(to / name, result.read_bytes())
            flush_folder(to)

    def studies(self) -> list[QueuedStudy]:
        """Return the studies, the one that waits longest first."""
        found = [
            self._study(path.name)
            for path in self._studies.iterdir()
            if path.is_dir() and not is_temporary(path)
        ]
        return sorted(found, key=lambda study: (study.last_received_s, study.code))

    def _study(self, code: str) -> QueuedStudy:
        return QueuedStudy(self._studies / code, self._records / f"{code}.json")

    def outbox(self, destination: str) -> Path:
        """Return the folder of results for a destination; it is made."""
        folder = self._outbox / destination
        make_folder(folder)
        return folder

    def waiting(self, destination: str) -> list[Path]:
        """Return the results that a destination has not got yet, the oldest first."""
        found = []
        for path in filter(_is_whole, self.outbox(destination).glob(_IMAGE)):
            with suppress(FileNotFoundError):  # it has just been sent
                found.append((path.stat().st_mtime, path))
        return [path for _, path in sorted(found)]

    def reject(self, result: Path) -> None:
        """Set a result aside that cannot be read."""
        folder = result.parent / "rejected"
        make_folder(folder)
        result.replace(folder / result.name)

    def unknown_outboxes(self, destinations: Sequence[str]) -> Iterator[str]:
        """Yield the destinations that results wait for, but that are not configured any more."""
        for folder in sorted(self._outbox.iterdir()):
            if folder.name not in destinations and any(folder.glob(_IMAGE)):
                yield folder.name

    @property
    def free_bytes(self) -> int:
        """Free space on the disk."""
        return shutil.disk_usage(self.folder).free


def code_of(uid: str) -> str:
    """Return the code of a UID."""
    return hashlib.sha256(uid.encode()).hexdigest()[:_CODE_DIGITS]


def _code_of_image(path: Path) -> str:
    return path.stem.partition("-")[0]


def _keep_latest_versions(images: Path) -> None:
    """Remove earlier versions of images; a killed process may have left some."""
    latest: dict[str, Path] = {}
    for path in sorted(images.glob(_IMAGE), key=lambda one: one.stat().st_mtime):
        earlier = latest.get(_code_of_image(path))
        if earlier is not None:
            earlier.unlink()
        latest[_code_of_image(path)] = path


def _is_whole(path: Path) -> bool:
    return not is_temporary(path)
