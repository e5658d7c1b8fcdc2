"""Results that wait to be sent: a folder for each destination."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pydicom import dcmread

from wmh_runtime.files.atomic import flush_folder, write_bytes_atomically
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.temporary import is_temporary, remove_temporary_files
from wmh_runtime.node.study import QueuedStudy, code_of

_RESULT = "*.dcm"
_REJECTED = "rejected"  # folder of files that are no results


class Outbox:
    """The folders of all destinations.

    Args:
        folder: that they are in; it is made.

    Raises:
        InputError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)

    def clean_up(self) -> None:
        """Remove what a killed process left half-written."""
        for folder in filter(Path.is_dir, self._folder.iterdir()):
            remove_temporary_files(folder, is_alone=True)

    def put(
        self,
        study: QueuedStudy,
        results: Sequence[Path],
        destinations: Sequence[str],
        folder: Path | None,
    ) -> None:
        """Copy results to the folders of destinations, and to one more.

        Args:
            study: that the results are of.
            results: files.
            destinations: names.
            folder: None: no further one.

        Raises:
            InputError: a file cannot be written.
        """
        folders = [self._folder_of(name) for name in destinations]
        if folder is not None:
            make_folder(folder)
            folders.insert(0, folder)  # it may be away: then nothing is sent yet
        for to in folders:
            for result in results:
                # By its UID: a result that is being sent is never replaced by a later one.
                head = dcmread(result, specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
                name = f"{study.code}-{code_of(str(head.SOPInstanceUID))}.dcm"
                write_bytes_atomically(to / name, result.read_bytes())
            flush_folder(to)

    def waiting(self, destination: str) -> list[Path]:
        """Return the results that a destination has not got yet, the oldest first."""
        found = []
        for path in self._folder_of(destination).glob(_RESULT):
            with suppress(FileNotFoundError):  # it has just been sent
                if not is_temporary(path):
                    found.append((path.stat().st_mtime, path))
        return [path for _, path in sorted(found)]

    def reject(self, result: Path) -> None:
        """Set a file aside that is no result; OSError: it cannot be moved."""
        folder = result.parent / _REJECTED
        make_folder(folder)
        result.replace(folder / result.name)

    def rejected(self, destination: str) -> int:
        """Return how many files were set aside."""
        return len(list((self._folder / destination / _REJECTED).glob(_RESULT)))

    def unknown(self, destinations: Sequence[str]) -> Iterator[str]:
        """Yield the destinations that results wait for, but that are not configured any more."""
        for folder in sorted(self._folder.iterdir()):
            if folder.name not in destinations and any(folder.glob(_RESULT)):
                yield folder.name

    def _folder_of(self, destination: str) -> Path:
        folder = self._folder / destination
        make_folder(folder)
        return folder
