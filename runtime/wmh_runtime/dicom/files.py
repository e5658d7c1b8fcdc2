"""DICOM files in folders and zip archives: find them, and read their headers or all of them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom import config
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from wmh_runtime.dataset.image_formats import is_zip
from wmh_runtime.errors import InputError
from wmh_runtime.files.folders import is_hidden, walk
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.files.reading import is_file

_MAX_FILE_BYTES = 2**31  # of one file in an archive, unpacked
_ENCRYPTED = 1  # flag of a member of an archive
_PREAMBLE_BYTES = 128
_MAGIC = b"DICM"
# Some old files begin at once with the first group: of the file, or of the data set.
_STARTS_WITHOUT_PREAMBLE = (b"\x02\x00", b"\x08\x00")

# Values that break a rule of the standard are common, and warnings would print them.
config.settings.reading_validation_mode = config.IGNORE


@dataclass(frozen=True)
class DicomFile:
    """A file on disk, or in a zip archive."""

    path: Path  # of the file or the archive
    member: str = ""  # name in the archive; empty: a file on disk

    @property
    def folder(self) -> str:
        """Where the file is, for the user."""
        if not self.member:
            return str(self.path.parent)
        return f"{self.path} ({Path(self.member).parent.as_posix()})"

    @property
    def size_bytes(self) -> int:
        """Size, unpacked; OSError: the file is gone."""
        if not self.member:
            return self.path.stat().st_size
        return _open_archive(self.path).getinfo(self.member).file_size

    @property
    def changed_s(self) -> float:
        """Time of the last change of the file or the archive; OSError: it is gone."""
        return self.path.stat().st_mtime

    def read(self, tags: Sequence[str] | None = None, *, with_pixels: bool = False) -> FileDataset:
        """Read the header, and the pixels if asked for.

        Args:
            tags: keywords of the attributes to read; None: all.
            with_pixels: read the pixels, too.

        Raises:
            InvalidDicomError: it is no DICOM file.
            Exception: it is damaged; pydicom raises many types.
        """
        with self._open() as stream:
            start = stream.read(_PREAMBLE_BYTES + len(_MAGIC))
            has_preamble = start[_PREAMBLE_BYTES:] == _MAGIC
            if not (has_preamble or start.startswith(_STARTS_WITHOUT_PREAMBLE)):
                raise InvalidDicomError("no DICOM file")
            stream.seek(0)
            return pydicom.dcmread(
                stream,
                stop_before_pixels=not with_pixels,
                specific_tags=None if tags is None else list(tags),
                force=not has_preamble,
            )

    def _open(self) -> BinaryIO:
        if not self.member:
            return self.path.open("rb")
        with _open_archive(self.path).open(self.member) as packed:
            return io.BytesIO(packed.read())


@lru_cache(maxsize=8)  # of a folder of thousands of archives, few are open at a time
def _open_archive(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def find_files(
    source: Path,
    except_for: Path | None = None,
    on_unreadable: Callable[[Path], None] = lambda _: None,
) -> Iterator[DicomFile]:
    """Find the files that may be DICOM, in sorted order.

    Args:
        source: a folder, a zip archive or one file. Zip archives in a folder are opened, too.
        except_for: a folder that is not searched.
        on_unreadable: called with each folder, and each archive in a folder, that cannot be read.

    Raises:
        InputError: the source is an archive that cannot be read.
    """
    if source.is_file():
        yield from _files_of_archive(source) if is_zip(source) else (DicomFile(source),)
        return

    def note(error: OSError) -> None:
        on_unreadable(Path(error.filename))

    for folder, subfolders, names in walk(source, note, except_for=except_for):
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        for path in (folder / name for name in names if not is_hidden(name)):
            if not is_file(path):  # to open a named pipe would block
                continue
            if not is_zip(path):
                yield DicomFile(path)
                continue
            try:
                yield from _files_of_archive(path)
            except InputError:
                on_unreadable(path)


def _files_of_archive(path: Path) -> list[DicomFile]:
    try:
        members = _open_archive(path).infolist()
    except (OSError, zipfile.BadZipFile) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "no zip archive, or damaged"
        raise InputError(f"cannot be read ({reason})", "Copy it again.", about=path) from error
    members = [one for one in members if not (one.is_dir() or is_hidden(Path(one.filename).name))]
    if any(one.flag_bits & _ENCRYPTED for one in members):
        advice = "Unpack it, and give the folder."
        raise InputError("is protected by a password", advice, about=path)
    largest = max((one.file_size for one in members), default=0)
    if largest > _MAX_FILE_BYTES:
        problem = f"holds a file of {largest / 2**30:.1f} GiB, at most 2 are read"
        raise InputError(problem, "Unpack it, and give the folder.", about=path)
    return [DicomFile(path, name) for name in sorted(one.filename for one in members)]
