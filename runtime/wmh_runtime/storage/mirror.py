"""A folder of this machine that stands for one in object storage.

It has a file for each object that matters: a copy of the object, or an empty file as long as only
the name is needed.
"""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from os.path import commonprefix
from pathlib import Path
from typing import Literal

from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.temporary import temporary_path_beside
from wmh_runtime.storage.object_folder import ObjectFolder

Need = Literal["content", "name", "nothing"]


class Mirror:
    """The copies of the objects of a folder. Several threads may use it.

    Args:
        objects: in object storage.
        folder: of this machine; nobody else writes there.
    """

    def __init__(self, objects: ObjectFolder, folder: Path) -> None:
        self.objects = objects
        self.folder = folder
        self._versions: dict[str, str] = {}  # of the objects, when they were listed
        self._copied: dict[str, str] = {}  # version of the copy; empty: it was made here
        self._stored_md5: dict[str, str] = {}  # of files as they were when copied or stored
        self._users = defaultdict[str, set[str]](set)  # of copies
        self._locks = defaultdict[str, threading.Lock](threading.Lock)
        make_folder(folder)

    def refresh(self, need: Callable[[str], Need]) -> None:
        """List the objects, and copy those that are needed and have changed.

        Args:
            need: returns for the path of an object below the folder what is needed of it.

        Raises:
            InputError: the objects cannot be listed or read.
        """
        found = self.objects.versions()
        self._forget(self._versions.keys() - found.keys())
        self._take(found, need)

    def recall(self, files: Sequence[Path], need: Callable[[str], Need]) -> None:
        """Look for the objects of a few files again, which others may have changed meanwhile.

        Args:
            files: of one folder; their names begin alike.
            need: as of `refresh`.

        Raises:
            InputError: the objects cannot be listed or read.
        """
        paths = set(map(self._path, files))
        folder, _, prefix = commonprefix(sorted(paths)).rpartition("/")  # noqa: RUF071 - of names
        found = self.objects.versions(folder, prefix)
        self._forget(paths & self._versions.keys() - found.keys())
        self._take({path: found[path] for path in paths & found.keys()}, need)

    def reread(self, files: Iterable[Path]) -> None:
        """Copy the objects of a few small files again, whatever is known of them; InputError."""
        for file in files:
            path = self._path(file)
            content = self.objects.read(path)
            if content is None:
                self._forget([path])
            else:
                make_folder(file.parent)
                file.write_bytes(content)
                self._versions.setdefault(path, "")
                self._copied[path] = ""
                self._stored_md5[path] = _md5(file)

    @property
    def names(self) -> Collection[str]:
        """The paths of all objects, when they were listed."""
        return tuple(self._versions)

    def version_of(self, file: Path) -> str:
        """Return the version of the object of a file, when it was listed; empty: not known."""
        return self._versions.get(self._path(file), "")

    def fetch(self, files: Iterable[Path], user: str) -> None:
        """Copy the objects of files that are not copied yet; files without an object are ignored.

        Args:
            files: in the folder.
            user: keeps the copies until it is done with them, see `release`.

        Raises:
            InputError: an object is gone, or cannot be read.
        """
        for path in map(self._path, files):
            with self._locks[path]:
                self._users[path].add(user)
                if path in self._versions and path not in self._copied:
                    self._copy([path])

    def release(self, files: Iterable[Path], user: str) -> None:
        """Free the space of copies that nobody uses; an empty file stands for each object again."""
        for file in files:
            path = self._path(file)
            with self._locks[path]:
                self._users[path].discard(user)
                if not self._users[path] and path in self._versions and file.exists():
                    self._copied.pop(path, None)
                    file.write_bytes(b"")

    def store(self, files: Iterable[Path], *, only_changed: bool = False) -> None:
        """Make the objects of files as the files are, in this order; a missing file has none.

        Empty files, which stand for an object, are left as they are.

        Args:
            files: in the folder.
            only_changed: leave objects alone whose files are as they were copied.

        Raises:
            InputError: an object cannot be written or removed.
        """
        for file in files:
            path = self._path(file)
            if not file.exists():
                self._copied.pop(path, None)
                self.remove([file])
                continue
            if path in self._versions and not file.stat().st_size:
                continue
            md5 = _md5(file)
            if only_changed and self._stored_md5.get(path) == md5:
                continue
            self.objects.upload(file, path)
            self._copied[path] = self._versions[path] = ""
            self._stored_md5[path] = md5

    def remove(self, files: Iterable[Path]) -> None:
        """Remove the objects of files, but not the files; InputError if that is not possible."""
        for path in map(self._path, files):
            if self._versions.pop(path, None) is not None:
                self.objects.remove(path)

    def discard(self, files: Iterable[Path]) -> None:
        """Remove files that were made here and are not to be stored; the objects stay."""
        for file in files:
            self._copied.pop(self._path(file), None)
            file.unlink(missing_ok=True)

    def _take(self, found: Mapping[str, str], need: Callable[[str], Need]) -> None:
        """Make files for objects that were listed."""
        wanted = []
        self._versions |= found
        for path, version in found.items():
            if self._copied.get(path) == "" and self._stored_md5.get(path) == version:
                self._copied[path] = version  # the object is still what was made here
            of_path = need(path)
            if of_path == "content" and self._copied.get(path) != version:
                wanted.append(path)
            elif of_path == "name" and path not in self._copied:
                file = self.folder / path
                make_folder(file.parent)
                file.touch()
        self._copy(wanted)

    def _copy(self, paths: Sequence[str]) -> None:
        """Copy objects; those that are gone have no file any more."""
        files = {path: self.folder / path for path in paths}
        for folder in {file.parent for file in files.values()}:
            make_folder(folder)
        partial = {path: temporary_path_beside(file) for path, file in files.items()}
        gone = self.objects.download(partial)
        self._forget(gone)
        for path in files.keys() - gone:
            partial[path].replace(files[path])
            self._copied[path] = self._versions[path]
            self._stored_md5[path] = _md5(files[path])

    def _forget(self, paths: Iterable[str]) -> None:
        for path in tuple(paths):
            for known in (self._versions, self._copied, self._stored_md5):
                known.pop(path, None)
            (self.folder / path).unlink(missing_ok=True)

    def _path(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()


def _md5(file: Path) -> str:
    """Return the MD5 of a file: the version of its object, if that was written in one request."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
