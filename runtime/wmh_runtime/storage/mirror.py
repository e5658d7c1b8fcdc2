"""A folder of this machine that stands for one in object storage.

It has a file for each object that matters: a copy of the object, or an empty file as long as only
the name is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os.path import commonprefix
from pathlib import Path
from typing import Literal

from wmh_runtime.files.folders import make_folder
from wmh_runtime.storage.object_folder import ObjectFolder

Need = Literal["content", "name", "nothing"]


class Mirror:
    """The copies of the objects of a folder. Several threads may use it for different files.

    Args:
        objects: in object storage.
        folder: of this machine; nobody else writes there.
    """

    def __init__(self, objects: ObjectFolder, folder: Path) -> None:
        self.objects = objects
        self.folder = folder
        self._versions: dict[str, str] = {}  # of the objects, when they were listed
        self._copied: dict[str, str] = {}  # version of the copy; empty: it was made here
        make_folder(folder)

    def refresh(self, need: Callable[[str], Need]) -> None:
        """List the objects, and copy those that are needed and have changed.

        Args:
            need: returns for the path of an object below the folder what is needed of it.

        Raises:
            InputError: the objects cannot be listed or read.
        """
        found = self.objects.versions()
        for gone in self._versions.keys() - found.keys():
            del self._versions[gone]
            self._copied.pop(gone, None)
            (self.folder / gone).unlink(missing_ok=True)
        self._take(found, need)

    def _take(self, found: Mapping[str, str], need: Callable[[str], Need]) -> None:
        wanted = []
        self._versions |= found
        for path, version in found.items():
            if self._copied.get(path) == "":
                self._copied[path] = version  # what was made here is there now
            of_path = need(path)
            if of_path == "content" and self._copied.get(path) != version:
                wanted.append(path)
            elif of_path == "name" and path not in self._copied:
                file = self.folder / path
                make_folder(file.parent)
                file.touch()
        self._copy(wanted)

    def recall(self, files: Sequence[Path], need: Callable[[str], Need]) -> None:
        """Look for the objects of a few files again, which others may have written meanwhile.

        Args:
            files: of one folder; their names begin alike.
            need: as of `refresh`.

        Raises:
            InputError: the objects cannot be listed or read.
        """
        paths = set(map(self._path, files))
        folder, _, prefix = commonprefix(sorted(paths)).rpartition("/")  # noqa: RUF071 - of names
        found = self.objects.versions(folder, prefix)
        self._take({path: found[path] for path in paths & found.keys()}, need)

    def version_of(self, file: Path) -> str:
        """Return the version of the object of a file, when it was listed; empty: there was none."""
        return self._versions.get(self._path(file), "")

    def version_of_all(self, is_asked: Callable[[str], bool]) -> dict[str, str]:
        """Return the versions of the objects that are asked for, when they were listed."""
        return {path: one for path, one in self._versions.items() if is_asked(path)}

    def fetch(self, files: Iterable[Path]) -> None:
        """Copy the objects of files that are not copied yet; files without an object are ignored.

        Raises:
            InputError: an object is gone, or cannot be read.
        """
        paths = map(self._path, files)
        self._copy([one for one in paths if one in self._versions and one not in self._copied])

    def store(self, files: Iterable[Path]) -> None:
        """Make the objects of files as the files are, in this order; a missing file has none.

        Empty files, which stand for an object, are left as they are.

        Raises:
            InputError: an object cannot be written or removed.
        """
        for file in files:
            path = self._path(file)
            if not file.exists():
                self._copied.pop(path, None)
                if self._versions.pop(path, None) is not None:
                    self.objects.remove(path)
            elif file.stat().st_size or path not in self._versions:
                self.objects.upload(file, path)
                self._copied[path], self._versions[path] = "", ""

    def remove(self, files: Iterable[Path]) -> None:
        """Remove the objects of files, but not the files; InputError if that is not possible."""
        for path in map(self._path, files):
            if self._versions.pop(path, None) is not None:
                self.objects.remove(path)

    def drop(self, files: Iterable[Path]) -> None:
        """Free the space of the copies of files; an empty file stands for each object again."""
        for file in files:
            path = self._path(file)
            if self._copied.pop(path, None) is not None and file.exists():
                file.write_bytes(b"")

    def address_of(self, file: Path) -> str:
        """Return the address of the object of a file."""
        return self.objects.address_of(self._path(file))

    def has(self, file: Path) -> bool:
        """Return whether a file is in this folder."""
        return file.is_relative_to(self.folder)

    def _copy(self, paths: list[str]) -> None:
        for path in paths:
            make_folder((self.folder / path).parent)
        self.objects.download({path: self.folder / path for path in paths})
        self._copied |= {path: self._versions[path] for path in paths}

    def _path(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()
