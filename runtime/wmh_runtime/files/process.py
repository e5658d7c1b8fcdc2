"""Which process wrote a file, and whether that process has ended."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import uuid
from functools import cache
from pathlib import Path
from typing import NamedTuple, Self

import psutil

_PROC = Path("/proc")
_SPACE_DIGITS = 8
_ENDED_STATES = ("Z", "X", "x")  # of Linux; the parent has not asked for the exit status yet


class ProcessId(NamedTuple):
    """A process, on whichever machine. No two processes have the same, not even over time."""

    host: str  # letters, digits and _
    space: str  # processes of one space see each other's numbers: no other boot, no other container
    number: int
    start: int  # when it was started, in a unit of the system

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read what `str` gives; None if it is something else."""
        parts = text.split("-")
        if len(parts) != len(cls._fields):
            return None
        try:
            return cls(parts[0], parts[1], int(parts[2]), int(parts[3]))
        except ValueError:
            return None

    def __str__(self) -> str:
        """Return a text that can be a part of a file name."""
        return "-".join(map(str, self))

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended for sure. Of another machine, this cannot be known."""
        if self.space != _space():
            return False
        if not _exists(self.number):
            return True
        start = _start(self.number)
        return start is not None and start != self.start


def this_process() -> ProcessId:
    """Return this process."""
    return _process(os.getpid())  # it is another one after a fork


@cache
def _process(number: int) -> ProcessId:
    host = "".join(c if c.isalnum() else "_" for c in socket.gethostname())
    return ProcessId(host, _space(), number, _start(number) or 0)


@cache
def _space() -> str:
    """Return what processes have in common that see each other's numbers."""
    if sys.platform == "linux":
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        parts = (socket.gethostname(), boot, str((_PROC / "self/ns/pid").readlink()))
    else:
        parts = (socket.gethostname(), str(uuid.getnode()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_SPACE_DIGITS]


def _exists(number: int) -> bool:
    if os.name != "posix":
        return psutil.pid_exists(number)
    try:
        os.kill(number, 0)  # it sends nothing; unlike /proc, it knows processes of other users
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _start(number: int) -> int | None:
    """Return when a process was started, -1 if it has ended; None if that cannot be known."""
    if sys.platform != "linux":
        try:
            return round(psutil.Process(number).create_time() * 1000)
        except psutil.NoSuchProcess:
            return -1
        except psutil.Error:
            return None
    try:
        # The second field, the name of the program, may hold spaces and parentheses.
        text = (_PROC / str(number) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has just ended, or is hidden from other users
        return None
    fields = text.rpartition(")")[2].split()
    # In clock ticks since the machine was started: unlike a time, it does not change with the clock
    return -1 if fields[0] in _ENDED_STATES else int(fields[19])
