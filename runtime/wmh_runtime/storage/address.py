"""Addresses of folders in object storage, such as `s3://bucket/scans`."""

from __future__ import annotations

import re
from pathlib import Path

from wmh_runtime.errors import InputError

_ONE_SLASH = re.compile(r"[a-z][a-z0-9+.-]+:/(?!/)", re.IGNORECASE)  # no drive of Windows
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://.+", re.IGNORECASE)


def is_address(place: Path | str) -> bool:
    """Return whether a place is an address; otherwise it is a path of this machine."""
    return isinstance(place, str) and _ADDRESS.fullmatch(place) is not None


def require_slashes(place: Path | str) -> None:
    """Refuse a path that was probably meant as an address, such as `s3:/bucket`; InputError."""
    if _ONE_SLASH.match(str(place)):
        problem = "is no address: it has one slash after the colon"
        raise InputError(problem, "Write two, as in s3://bucket/folder.", about=str(place))


def last_part(address: str) -> str:
    """Return the last part of an address, which is like the name of a folder."""
    return address.rstrip("/").rpartition("/")[2]


def path_below(address: str, other: str) -> str | None:
    """Return the path of an address below another one; empty: they are the same; None: it is not.

    Args:
        address: of a folder.
        other: of a folder that may contain it.
    """
    inner, outer = address.rstrip("/"), other.rstrip("/")
    if inner == outer:
        return ""
    return inner.removeprefix(f"{outer}/") if inner.startswith(f"{outer}/") else None


def path_in(place: Path | str, name: str) -> str:
    """Return the path or address of a file in a folder.

    Args:
        place: path or address of the folder.
        name: of the file.
    """
    return f"{str(place).rstrip('/')}/{name}" if is_address(place) else str(Path(place) / name)
