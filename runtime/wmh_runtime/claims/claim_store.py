"""Where claims are kept: in files of a folder, or in object storage."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from wmh_runtime.claims.claim_file import (
    ClaimContent,
    beat,
    create_claim,
    read_claim,
    remove_claim,
    remove_stale_claim,
)
from wmh_runtime.files.temporary import remove_temporary_files


class ClaimStore(Protocol):
    """Keeps claims by their names. Several threads may use it."""

    def open(self) -> None:
        """Clear what runs that are gone have left, other than claims.

        Raises:
            InputError: claims cannot be kept there.
        """

    def create(self, name: str, content: ClaimContent) -> bool:
        """Create a claim; return whether it was not there before.

        Raises:
            InputError: it cannot be created.
        """

    def read(self, name: str) -> bytes | None:
        """Return what a claim contains; None if there is none, or it cannot be read."""

    def beat(self, name: str, content: ClaimContent) -> None:
        """Keep the count of a claim, unless the claim is not that of the owner any more.

        Raises:
            OSError: that is not possible now.
        """

    def remove(self, name: str, token: str) -> None:
        """Remove a claim, unless it is of another owner by now."""

    def remove_stale(self, name: str, seen: bytes) -> bool:
        """Remove the claim of an owner that is gone; return whether it was removed.

        Args:
            name: of the claim.
            seen: its content; if it has another one, it is kept.
        """

    def contents(self) -> Iterable[bytes | None]:
        """Return what all claims contain."""


class ClaimFolder:
    """Keeps claims in files.

    Args:
        folder: it is created with the first claim.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> None:
        """Remove temporary files of processes of this machine that were killed."""
        remove_temporary_files(self._folder)

    def create(self, name: str, content: ClaimContent) -> bool:
        """Create a claim; return whether it was not there before."""
        return create_claim(self._folder / name, content)

    def read(self, name: str) -> bytes | None:
        """Return what a claim contains; None if there is none, or it cannot be read."""
        return read_claim(self._folder / name)

    def beat(self, name: str, content: ClaimContent) -> None:
        """Keep the count of a claim, unless the claim is not that of the owner any more."""
        beat(self._folder / name, content)

    def remove(self, name: str, token: str) -> None:
        """Remove a claim, unless it is of another owner by now."""
        remove_claim(self._folder / name, token)

    def remove_stale(self, name: str, seen: bytes) -> bool:
        """Remove the claim of an owner that is gone. Of several processes, one alone can do it."""
        return remove_stale_claim(self._folder / name, seen)

    def contents(self) -> Iterable[bytes | None]:
        """Return what all claims contain."""
        return map(read_claim, self._folder.glob("*.json"))
