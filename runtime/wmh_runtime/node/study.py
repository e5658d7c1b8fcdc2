"""A study in the queue of a node: its images, its results, and what became of it."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, ValidationError

from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.temporary import is_temporary
from wmh_runtime.schema import StrictModel

_CODE_DIGITS, _VERSION_DIGITS = 16, 8
_IMAGE = "*.dcm"

_log = logging.getLogger(__name__)


class StudyRecord(StrictModel):
    """What became of a study. Values that are not known, of a later version, are ignored."""

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

    def path_of_image(self, uid: str, content: bytes) -> Path:
        """Name the file of an image; another content has another name."""
        version = hashlib.sha256(content).hexdigest()[:_VERSION_DIGITS]
        return self.images_folder / f"{code_of(uid)}-{version}.dcm"

    def earlier_versions(self, image: Path) -> list[Path]:
        """Return the files of an image as it was before it was corrected."""
        found = self.images_folder.glob(f"{_code_of_image(image)}-{_IMAGE}")
        return [path for path in found if path != image]

    def keep_latest_versions(self) -> None:
        """Remove earlier versions of images; a killed process may have left some."""
        for path in sorted(self._images, key=lambda one: one.stat().st_mtime, reverse=True):
            if path.exists():
                for earlier in self.earlier_versions(path):
                    earlier.unlink()

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
    def record(self) -> StudyRecord:
        """What became of it so far. A damaged one is set aside; OSError: it cannot be read."""
        try:
            return StudyRecord.model_validate_json(self.record_path.read_bytes())
        except FileNotFoundError:
            return StudyRecord()
        except ValidationError:
            _log.error("study %s: its record cannot be read, and is set aside", self.code)
            self.record_path.replace(self.record_path.with_suffix(".unreadable"))
            return StudyRecord()

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
    def _images(self) -> list[Path]:
        return [path for path in self.images_folder.glob(_IMAGE) if not is_temporary(path)]

    @property
    def _unreleased_path(self) -> Path:
        return self.folder / "unreleased"


def code_of(uid: str) -> str:
    """Return the code of a UID: a hash."""
    return hashlib.sha256(uid.encode()).hexdigest()[:_CODE_DIGITS]


def _code_of_image(path: Path) -> str:
    return path.stem.partition("-")[0]
