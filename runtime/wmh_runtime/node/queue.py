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

import shutil
import threading
import time
from pathlib import Path

from wmh_runtime.files.atomic import flush_folder, write_bytes_atomically
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.os_errors import input_error
from wmh_runtime.files.temporary import is_temporary, remove_folder, remove_temporary_files
from wmh_runtime.node.outbox import Outbox
from wmh_runtime.node.study import QueuedStudy, StudyRecord, code_of

_OWNER_ONLY = 0o700


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
        for one in (folder, self._studies, self._records):
            make_folder(one)
        self.outbox = Outbox(folder / "outbox")
        try:
            folder.chmod(_OWNER_ONLY)
        except OSError as error:
            raise input_error(error, "cannot be closed to other users", folder) from error

    def clean_up(self) -> None:
        """Remove what a killed process left half-written."""
        studies = self.studies()
        images = [study.images_folder for study in studies]
        for folder in (self._studies, self._records, *images):
            remove_temporary_files(folder, is_alone=True)
        for study in studies:
            study.keep_latest_versions()
        self.outbox.clean_up()

    def add_image(self, study_uid: str, image_uid: str, content: bytes) -> QueuedStudy:
        """Keep a received image; when this returns, it is on the disk.

        Raises:
            InputError: it cannot be written.
        """
        study = self._study(code_of(study_uid))
        path = study.path_of_image(image_uid, content)
        with self._lock:  # the images of this study may be about to be removed
            make_folder(study.images_folder)
            study.mark_unreleased()
            if path.exists():
                study.images_folder.touch()  # something was received, if nothing new
            else:
                write_bytes_atomically(path, content)
                for earlier in study.earlier_versions(path):
                    earlier.unlink()
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
                codes = tuple(sorted({*record.removed, *study.image_codes}))
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

    @property
    def free_bytes(self) -> int:
        """Free space on the disk."""
        return shutil.disk_usage(self.folder).free
