"""Claims in object storage.

An object is created only if it is not there, which one process alone can do. It is never changed:
the count of its owner is in an object of its own, whose name has the token of the claim, so that it
cannot get into the claim of another owner.

Objects cannot be renamed. So of two processes that take a stale claim in the same moment, the
slower one may remove the new claim of the faster one. The faster one sees that before it writes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress

from wmh_runtime.claims.claim_file import ClaimContent, parse_claim
from wmh_runtime.errors import InputError
from wmh_runtime.storage.object_folder import ObjectFolder

_BEATS_SUFFIX = ".beats"


class ClaimObjects:
    """Keeps claims in object storage.

    Args:
        objects: of the output folder.
        folder: path of the claims below it.
    """

    def __init__(self, objects: ObjectFolder, folder: str) -> None:
        self._objects = objects
        self._folder = folder

    def open(self) -> None:
        """Check that the storage creates an object only if there is none; InputError."""
        self._objects.require_creation(f"{self._folder}/{secrets.token_hex(8)}.test")

    def create(self, name: str, content: ClaimContent) -> bool:
        """Create a claim; return whether it was not there before."""
        return self._objects.create(self._path(name), content.model_dump_json().encode())

    def read(self, name: str) -> bytes | None:
        """Return what a claim contains; None if there is none, or it cannot be read."""
        try:
            found = parse_claim(self._objects.read(self._path(name)))
        except InputError:
            return None
        if found is None:
            return None
        beats = None
        with suppress(InputError):  # some storages refuse to say that there is none
            beats = self._objects.read(self._beats(name, found.token))
        current = found.model_copy(update={"beats": beats.decode()}) if beats else found
        return current.model_dump_json().encode()

    def beat(self, name: str, content: ClaimContent) -> None:
        """Keep the count of a claim; OSError if that is not possible now."""
        try:
            self._objects.write(self._beats(name, content.token), content.beats.encode())
        except InputError as error:
            raise OSError(str(error)) from error

    def remove(self, name: str, token: str) -> None:
        """Remove a claim, unless it is of another owner by now."""
        found = parse_claim(self.read(name))
        with suppress(InputError):
            if found is not None and found.token == token:
                self._objects.remove(self._path(name))
            self._objects.remove(self._beats(name, token))

    def remove_stale(self, name: str, seen: bytes) -> bool:
        """Remove the claim of an owner that is gone; return whether it was removed."""
        if self.read(name) != seen or (found := parse_claim(seen)) is None:
            return False
        try:
            self._objects.remove(self._path(name))
            self._objects.remove(self._beats(name, found.token))
        except InputError:
            return False
        return True

    def contents(self) -> Iterable[bytes | None]:
        """Return what all claims contain."""
        paths = self._objects.versions(self._folder)
        names = (path.rpartition("/")[2] for path in paths)
        return (self.read(name) for name in names if name.endswith(".json"))

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _beats(self, name: str, token: str) -> str:
        return f"{self._folder}/{name}.{token}{_BEATS_SUFFIX}"
