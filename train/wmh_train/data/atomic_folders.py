"""Folders that appear whole or not at all, written by several processes at a time."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from wmh_runtime.atomic import PARTIAL_PREFIX


@contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """Yield a new folder to write to, which becomes `final` when the block ends well.

    Where another process was faster, its folder stays and this one is dropped: somebody may be
    reading it. Whatever ends the block early, nothing is left.

    Raises:
        OSError: the folder cannot be written.
    """
    partial = _partial_beside(final)
    partial.mkdir()
    try:
        yield partial
        try:
            partial.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove a folder so that nobody finds half of it; nothing where it is not there."""
    aside = _partial_beside(folder)
    with suppress(FileNotFoundError):
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes of this machine left unfinished in a folder.

    What belongs to a living process, or to another machine that shares the disk, stays.
    """
    mine = f"{PARTIAL_PREFIX}{_host()}-"
    for leftover in folder.glob(f"{PARTIAL_PREFIX}*"):
        process_id, _, _ = leftover.name.removeprefix(mine).partition("-")
        if not leftover.name.startswith(mine) or not process_id.isdigit():
            continue
        if not psutil.pid_exists(int(process_id)):
            shutil.rmtree(leftover, ignore_errors=True)


def _partial_beside(final: Path) -> Path:
    """Name an unfinished folder so that its writer can be told."""
    return final.parent / f"{PARTIAL_PREFIX}{_host()}-{os.getpid()}-{secrets.token_hex(4)}"


def _host() -> str:
    return "".join(c if c.isalnum() else "_" for c in socket.gethostname())
