"""The file of a claim: who has it, and a count that the owner raises while it is alive.

The steps need no lock of the file system. A file is created only if it is not there, which one
process alone can do, on NFS too (version 3 and later). What is read is what others have closed:
opening a file asks the server. So no step relies on cached names, sizes or times.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from pydantic import Field, ValidationError

from wmh_runtime.files.os_errors import input_error
from wmh_runtime.files.process import ProcessId
from wmh_runtime.files.temporary import temporary_path_beside
from wmh_runtime.schema import StrictModel

_COUNT_DIGITS = 12  # so that the file keeps its size


class ClaimContent(StrictModel):
    """What is in the file of a claim."""

    of: str = Field(description="what is claimed, such as the path of a scan")
    owner: str = Field(description="process that has it")
    token: str = Field(description="of this claim; no other has the same")
    beats: str = Field(description="count that the owner raises while it is alive")

    @property
    def process(self) -> ProcessId | None:
        """The process that has it; None if that cannot be read."""
        return ProcessId.parse(self.owner)

    def after_beats(self, count: int) -> ClaimContent:
        """Return the content with another count."""
        return self.model_copy(update={"beats": f"{count:0{_COUNT_DIGITS}}"})


def create_claim(path: Path, content: ClaimContent) -> bool:
    """Create the file of a claim; return whether it was not there before.

    Raises:
        InputError: it cannot be created.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    try:
        try:
            opened = os.open(path, flags, 0o666)
        except FileNotFoundError:
            # Not its parents: a folder of results that is not mounted must not be made anew.
            for folder in (path.parent.parent, path.parent):
                folder.mkdir(exist_ok=True)
            opened = os.open(path, flags, 0o666)
    except FileExistsError:
        return False
    except PermissionError as error:
        if os.name == "nt" and path.exists():  # another process is just removing it
            return False
        raise input_error(error, "cannot be written", path) from error
    except OSError as error:
        raise input_error(error, "cannot be written", path) from error
    try:
        with os.fdopen(opened, "wb") as file:
            file.write(_as_bytes(content))
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise input_error(error, "cannot be written", path) from error
    return True


def read_claim(path: Path) -> bytes | None:
    """Return the bytes of the file of a claim; None if there is none, or it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def parse_claim(data: bytes | None) -> ClaimContent | None:
    """Return the content of a claim; None if it is being written, or is of another version."""
    try:
        return ClaimContent.model_validate_json(data or b"")
    except ValidationError:
        return None


def beat(path: Path, content: ClaimContent) -> bool:
    """Write the count of a claim; return False if the claim is not that of the owner any more.

    The file is opened once, so that what is written can only get into the owner's own file.

    Raises:
        OSError: it is not known whether the claim is still there.
    """
    try:
        with path.open("r+b") as file:
            found = parse_claim(file.read())
            if found is None or found.token != content.token:
                return False
            file.seek(0)
            file.write(_as_bytes(content))
    except FileNotFoundError:
        return False
    return True


def remove_claim(path: Path, token: str) -> None:
    """Remove the file of a claim, unless it is of another owner by now."""
    found = parse_claim(read_claim(path))
    if found is not None and found.token == token:
        with suppress(OSError):
            path.unlink()


def remove_stale_claim(path: Path, seen: bytes) -> bool:
    """Remove the claim of an owner that is gone. Of several processes, one alone can do it.

    Args:
        path: of the claim.
        seen: content of the claim that is to be removed.

    Returns:
        Whether it was removed.
    """
    aside = temporary_path_beside(path)
    try:
        path.rename(aside)
    except OSError:  # another process was faster, or Windows has it open
        return False
    try:
        if read_claim(aside) == seen:
            return True
        # Somebody has claimed it in the meantime. If it cannot be put back, that owner will notice.
        with suppress(OSError):
            os.link(aside, path)
        return False
    finally:
        with suppress(OSError):
            aside.unlink()


def _as_bytes(content: ClaimContent) -> bytes:
    return content.model_dump_json().encode("utf-8", errors="backslashreplace")
