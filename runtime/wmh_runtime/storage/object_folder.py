"""A folder in object storage, by fsspec: list, read, write and remove its objects.

An object is written as a whole, or not at all: in one request, or in several parts that become an
object when the last one is there. So nobody sees a part of an object.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from wmh_runtime.errors import InputError
from wmh_runtime.storage.address import last_part
from wmh_runtime.text import install_advice

_PAUSES_S = (1.0, 5.0, 15.0)  # before a request is tried again; libraries try again, too
_VERSION_KEYS = ("ETag", "etag", "content_md5", "md5Hash")
_TIME_KEYS = ("LastModified", "last_modified", "updated", "mtime", "created")
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_TRANSIENT = {"OSError", "ConnectionError", "HTTPClientError"}  # or classes derived from them
_LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "memory": "fsspec"}

_Result = TypeVar("_Result")


class ObjectFolder:
    """The objects whose addresses begin with that of a folder. Several threads may use it.

    Credentials, and addresses of servers, are what the library of the storage finds: for S3, those
    of the environment, of `~/.aws`, or of the machine.

    Args:
        address: such as `s3://bucket/scans`.

    Raises:
        InputError: this kind of storage is not known, or its library is not installed.
    """

    _has_answered = False  # before, requests are tried once: the address may be wrong

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        kind = self.address.partition("://")[0].lower()
        if kind not in _LIBRARIES:
            known = ", ".join(f"{one}://" for one in _LIBRARIES if one != "memory")
            problem = f"is in a storage that is not known, expected {known}"
            raise InputError(problem, "Copy the files to a disk.", about=address)
        try:
            import fsspec  # optional

            options = {"use_listings_cache": False, "skip_instance_cache": True}
            self._system, self._root = fsspec.core.url_to_fs(self.address, **options)
        except ImportError as error:
            library = _LIBRARIES[kind]
            advice = install_advice("s3") if kind == "s3" else f"Run: pip install {library}"
            problem = f"needs the library {library}, which is not installed"
            raise InputError(problem, advice, about=address) from error

    def versions(self, folder: str = "", prefix: str = "") -> dict[str, str]:
        """List the objects: path below the folder → what changes whenever the object does.

        Names that cannot be those of files, such as `a//b`, are left out.

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
        paths = {name[len(self._root) :].lstrip("/"): about for name, about in listed.items()}
        return {path: _version(about) for path, about in paths.items() if _is_of_file(path)}

    def download(self, files: Mapping[str, Path]) -> None:
        """Copy objects to files, several at a time; the folders exist.

        Args:
            files: path below the folder → file, which is replaced.

        Raises:
            InputError: an object is missing or cannot be read, or a file cannot be written.
        """
        if files:
            names = [self._name(path) for path in files]
            to = [str(file) for file in files.values()]
            about = next(iter(files)) if len(files) == 1 else ""
            self._try(lambda: self._system.get(names, to), "cannot be read", about)

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
                return False
            return True

        return self._try(create, "cannot be written", path)

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

    def address_of(self, path: str) -> str:
        """Return the address of an object."""
        return f"{self.address}/{path}" if path else self.address

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
        return InputError(f"{problem} ({reason})", advice, about=self.address_of(path))

    @property
    def name(self) -> str:
        """The last part of the address."""
        return last_part(self.address)


def _is_transient(error: Exception) -> bool:
    """Return whether the same request may succeed a moment later."""
    names = {one.__name__ for one in type(error).__mro__}
    return not isinstance(error, _FINAL) and bool(names & _TRANSIENT)


def _version(about: Mapping[str, Any]) -> str:
    """Return what changes whenever an object does: a hash, or else size and time."""
    for key in _VERSION_KEYS:
        if about.get(key):
            return str(about[key]).strip('"')
    time_of = next((about[key] for key in _TIME_KEYS if about.get(key)), "")
    return f"{about.get('size')} {time_of}"


def _is_of_file(path: str) -> bool:
    return (
        bool(path)
        and not path.endswith("/")
        and ".." not in path.split("/")
        and (PurePosixPath(path).as_posix() == path)
    )
