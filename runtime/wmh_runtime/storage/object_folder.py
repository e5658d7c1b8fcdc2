"""A folder in object storage, by fsspec: list, read, write and remove its objects.

An object is written as a whole, or not at all: in one request, or in several parts that become an
object when the last one is there. So nobody sees a part of an object.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from wmh_runtime.errors import InputError
from wmh_runtime.text import install_advice

_PAUSES_S = (1.0, 5.0, 15.0, 60.0, 120.0)  # before a request is tried again; s3fs tries, too
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_TRANSIENT = {"OSError", "ConnectionError", "HTTPClientError"}  # or classes derived from them
_KINDS = ("s3", "memory")  # the second one is for tests
_TIMEOUTS = {"s3": {"config_kwargs": {"connect_timeout": 10, "read_timeout": 60}}, "memory": {}}
_BATCH = 500  # objects that are copied at a time
_LONGEST_NAME_BYTES = 255

_Result = TypeVar("_Result")


class ObjectFolder:
    """The objects whose addresses begin with that of a folder. Several threads may use it.

    Credentials, and addresses of servers, are what the library of the storage finds: for S3, those
    of the environment, of `~/.aws`, or of the machine.

    Args:
        address: such as `s3://bucket/scans`.

    Raises:
        InputError: this is another kind of storage, or the library is not installed.
    """

    _has_answered = False  # before, requests are tried once: the address may be wrong

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.odd_names: list[str] = []  # of objects that cannot be files, when all were listed
        kind = self.address.partition("://")[0].lower()
        if kind not in _KINDS:
            problem = "is an address of another kind, expected s3://bucket/folder"
            raise InputError(problem, "Copy the files to a disk.", about=address)
        try:
            import fsspec  # optional

            options = {"use_listings_cache": False, "skip_instance_cache": True, **_TIMEOUTS[kind]}
            self._system, self._root = fsspec.core.url_to_fs(self.address, **options)
        except ImportError as error:
            problem = "needs the library s3fs, which is not installed"
            raise InputError(problem, install_advice("s3"), about=address) from error

    def versions(self, folder: str = "", prefix: str = "") -> dict[str, str]:
        """List the objects: path below the folder → what changes whenever the object does.

        Names that cannot be those of files are left out, see `odd_names`.

        Args:
            folder: only those in this one below the folder.
            prefix: only those whose names in it begin like this.

        Raises:
            InputError: they cannot be listed.
        """
        root = self._name(folder) if folder else self._root
        listed = self._try(
            lambda: self._system.find(root, detail=True, prefix=prefix), "cannot be listed"
        )
        paths = {name.removeprefix(f"{self._root}/"): about for name, about in listed.items()}
        folders = {parent.as_posix() for path in paths for parent in PurePosixPath(path).parents}
        files = {path for path in paths if _is_of_file(path) and path not in folders}
        if not folder:
            odd = paths.keys() - files
            self.odd_names = sorted(path for path in odd if not path.endswith("/"))
        return {path: _version(about) for path, about in paths.items() if path in files}

    def download(self, files: Mapping[str, Path]) -> set[str]:
        """Copy objects to files, several at a time; the folders exist.

        Args:
            files: path below the folder → file, which is replaced.

        Returns:
            The paths of objects that are not there any more.

        Raises:
            InputError: an object cannot be read, or a file cannot be written.
        """
        gone = set[str]()
        for first in range(0, len(files), _BATCH):
            gone |= self._download([*files.items()][first : first + _BATCH])
        return gone

    def _download(self, files: Sequence[tuple[str, Path]]) -> set[str]:
        names = [self._name(path) for path, _ in files]
        about = files[0][0] if len(files) == 1 else ""

        def copy() -> bool:
            try:
                self._system.get(names, [str(file) for _, file in files])
            except FileNotFoundError:
                return False
            return True

        if self._try(copy, "cannot be read", about):
            return set()
        if len(files) == 1:
            return {about}
        return set[str]().union(*(self._download([one]) for one in files))

    def read(self, path: str) -> bytes | None:
        """Return the content of an object; None if there is none; InputError if not known."""

        def read() -> bytes | None:
            try:
                return bytes(self._system.cat_file(self._name(path)))
            except FileNotFoundError:
                return None

        return self._try(read, "cannot be read", path)

    def write(self, path: str, content: bytes) -> None:
        """Write an object, which is replaced; InputError if that is not possible."""
        name = self._name(path)
        self._try(lambda: self._system.pipe_file(name, content), "cannot be written", path)

    def create(self, path: str, content: bytes) -> bool:
        """Write an object; return False if there is one already, which is kept.

        Of several processes that do this at a time, one alone gets True.

        Raises:
            InputError: it cannot be written.
        """

        def create() -> bool:
            try:
                self._system.pipe_file(self._name(path), content, mode="create")
            except FileExistsError:
                return self.read(path) == content  # a first request may have got through
            except Exception:
                found = self.read(path)  # servers say in different ways that there is one
                if found is None:
                    raise
                return found == content
            return True

        return self._try(create, "cannot be written", path)

    def require_creation(self, path: str) -> None:
        """Refuse a storage that creates an object although there is one; InputError.

        Args:
            path: of an object that is written for the test, and removed.
        """
        try:
            self.write(path, b"first")
            if self.create(path, b"second"):
                problem = "creates an object although there is one (it ignores If-None-Match)"
                advice = "Use another storage, or a disk for the results."
                raise InputError(problem, advice, about=self.address)
        finally:
            self.remove(path)

    def upload(self, file: Path, path: str) -> None:
        """Copy a file to an object, which is replaced; InputError if that is not possible."""
        name = self._name(path)
        self._try(lambda: self._system.put_file(str(file), name), "cannot be written", path)

    def remove(self, path: str) -> None:
        """Remove an object, if it exists; InputError if that is not possible."""

        def remove() -> None:
            try:
                self._system.rm_file(self._name(path))
            except FileNotFoundError:
                return

        self._try(remove, "cannot be removed", path)

    def _name(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _try(self, do: Callable[[], _Result], problem: str, path: str = "") -> _Result:
        """Do something, a few times if the storage does not answer; InputError if it fails."""
        pauses_s = iter(_PAUSES_S if self._has_answered else ())
        while True:
            try:
                result = do()
            except Exception as error:  # each library has errors of its own
                pause_s = next(pauses_s, None) if _is_transient(error) else None
                if pause_s is None:
                    raise self._error(error, problem, path) from error
                time.sleep(pause_s)
            else:
                self._has_answered = True
                return result

    def _error(self, error: Exception, problem: str, path: str) -> InputError:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, FileNotFoundError):
            reason = "there is no such object or bucket"
        advice = "Check the address, the credentials and the network."
        about = f"{self.address}/{path}" if path else self.address
        return InputError(f"{problem} ({reason})", advice, about=about)


def _is_transient(error: Exception) -> bool:
    """Return whether the same request may succeed a moment later."""
    names = {one.__name__ for one in type(error).__mro__}
    return not isinstance(error, _FINAL) and bool(names & _TRANSIENT)


def _version(about: Mapping[str, Any]) -> str:
    """Return what changes whenever an object does."""
    known = about.get("ETag") or about.get("created")  # the second one in memory
    return str(known or "").strip('"')


def _is_of_file(path: str) -> bool:
    parts = path.split("/")
    return (
        ".." not in parts
        and PurePosixPath(path).as_posix() == path != "."
        and not path.startswith("/")
        and "\\" not in path
        and all(len(part.encode(errors="replace")) <= _LONGEST_NAME_BYTES for part in parts)
    )
