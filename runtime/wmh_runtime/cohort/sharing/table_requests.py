"""Requests for tables: a run asks for tables of what is in the folder now, whoever makes them."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from wmh_runtime.cohort.stored.stored_files import StoredFiles
from wmh_runtime.errors import InputError
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.os_errors import input_error
from wmh_runtime.outputs.paths import STATE_FOLDER
from wmh_runtime.storage.object_folder import ObjectFolder

_REQUESTS_FOLDER = STATE_FOLDER / "collect"


class TableRequests(Protocol):
    """The requests of all runs on an output folder."""

    def make(self) -> str:
        """Ask for tables; return the name of the request. InputError: it cannot be written."""

    def names(self) -> list[str]:
        """Return the requests that are not served yet; InputError: they cannot be read."""

    def remove(self, name: str) -> None:
        """Remove a request: it is served, or nobody waits for it."""


class RequestFiles:
    """Requests as files.

    Args:
        out: output folder.
    """

    def __init__(self, out: Path) -> None:
        self._folder = out / _REQUESTS_FOLDER

    def make(self) -> str:
        """Ask for tables; return the name of the request. InputError: it cannot be written."""
        make_folder(self._folder)
        request = self._folder / secrets.token_hex(8)
        try:
            request.touch()
        except OSError as error:
            raise input_error(error, "cannot be written", request) from error
        return request.name

    def names(self) -> list[str]:
        """Return the requests that are not served yet; InputError: they cannot be read."""
        try:
            return [path.name for path in self._folder.iterdir()]
        except OSError as error:
            raise input_error(error, "cannot be read", self._folder) from error

    def remove(self, name: str) -> None:
        """Remove a request: it is served, or nobody waits for it."""
        with suppress(OSError):
            (self._folder / name).unlink(missing_ok=True)


class RequestObjects:
    """Requests in object storage.

    Args:
        objects: of the output folder.
    """

    def __init__(self, objects: ObjectFolder) -> None:
        self._objects = objects
        self._folder = _REQUESTS_FOLDER.as_posix()

    def make(self) -> str:
        """Ask for tables; return the name of the request. InputError: it cannot be written."""
        name = secrets.token_hex(8)
        self._objects.write(f"{self._folder}/{name}", b"")
        return name

    def names(self) -> list[str]:
        """Return the requests that are not served yet; InputError: they cannot be read."""
        return [path.rpartition("/")[2] for path in self._objects.versions(self._folder)]

    def remove(self, name: str) -> None:
        """Remove a request: it is served, or nobody waits for it."""
        with suppress(InputError):
            self._objects.remove(f"{self._folder}/{name}")


def requests_in(out: Path, stored: StoredFiles) -> TableRequests:
    """Return the requests in an output folder, or in the object storage that it stands for."""
    return RequestFiles(out) if stored.results is None else RequestObjects(stored.results.objects)
