"""Records of what failed: a file for each scan without a result, until a run segments it.

They are in a hidden folder of the results, so every run on that folder, and whoever makes its
tables, knows the failures of all runs.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal

from pydantic import Field

from wmh_runtime import errors
from wmh_runtime.errors import InputError, WmhError
from wmh_runtime.files.atomic import remove, write_text_atomically
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.process import this_process
from wmh_runtime.files.reading import read_model
from wmh_runtime.outputs.paths import STATE_FOLDER
from wmh_runtime.schema import StrictModel
from wmh_runtime.text import as_utf8

FAILURES_FOLDER = STATE_FOLDER / "failures"
_NAME_DIGITS = 32

Step = Literal["segmentation", "comparison"]
SEGMENTATION: Step = "segmentation"  # of a scan
COMPARISON: Step = "comparison"  # of the visits of a subject


class FailureRecord(StrictModel):
    """Why a scan has no result, or why the visits of a subject were not compared."""

    schema_version: Literal[1] = 1
    step: Step
    name: str = Field(description="path of the scan in the input folder; or the subject")
    root: str = Field(description="the input folder")
    error: str = Field(description="class of the error")
    problem: str
    remedy: str
    about: str
    machine: str = Field(description="that it failed on; on another one it may succeed")
    token: str = Field(description="of this failure; that of a later attempt is another")

    @property
    def cause(self) -> WmhError:
        """The error."""
        known = getattr(errors, self.error, InputError)
        return known(self.problem, self.remedy, about=self.about or None)

    @property
    def reason(self) -> str:
        """Why it failed, and what to do, in one line."""
        return str(self.cause)


class FailureRecords:
    """The records in an output folder, as a run changes them. Several threads may use it.

    Args:
        out: the folder.
        source: path or address of the input folder.
        on_change: called with the file of a record that was written or removed.
    """

    def __init__(
        self, out: Path, source: str, on_change: Callable[[Path], None] = lambda _: None
    ) -> None:
        self._out = out
        self._root = source
        self._on_change = on_change
        self._before = {one.token for one in read_failures(out)}
        self._unwritten: dict[Path, FailureRecord] = {}

    def add(self, step: Step, name: str, error: WmhError) -> None:
        """Record a failure. If that is not possible, it is known to this run only."""
        record = FailureRecord(
            step=step,
            name=as_utf8(name),
            root=self._root,
            error=type(error).__name__,
            problem=as_utf8(error.problem),
            remedy=as_utf8(error.remedy),
            about="" if error.about is None else as_utf8(str(error.about)),
            machine=this_process().space,
            token=secrets.token_hex(8),
        )
        path = self._path(step, record.name)
        try:
            make_folder(path.parent)
            write_text_atomically(path, record.model_dump_json(indent=2) + "\n")
            self._on_change(path)
        except InputError:
            self._unwritten[path] = record

    def remove(self, step: Step, name: str) -> None:
        """Forget a failure, if there is one: there is a result.

        Raises:
            InputError: the record cannot be removed.
        """
        path = self._path(step, as_utf8(name))
        self._unwritten.pop(path, None)
        self._remove(path)

    def of_other_run(self, step: Step, name: str) -> WmhError | None:
        """Return the failure that another run on this machine has recorded since this one began.

        None: there is none. What failed on another machine is tried here: that one may lack memory,
        or a disk.
        """
        record = read_model(self._path(step, as_utf8(name)), FailureRecord)
        if record is None or record.token in self._before:
            return None
        is_same = (record.root, record.machine) == (self._root, this_process().space)
        return record.cause if is_same else None

    def forget_others(self, step: Step, names: Collection[str]) -> None:
        """Forget failures of what is not in the input folder any more.

        Args:
            step: that failed.
            names: of all that is in the input folder.

        Raises:
            InputError: a record cannot be removed.
        """
        known = set(map(as_utf8, names))
        for record in read_failures(self._out):
            is_of_step = (record.step, record.root) == (step, self._root)
            if is_of_step and record.name not in known:
                self._remove(self._path(step, record.name))

    def all(self) -> list[FailureRecord]:
        """Return the failures of all runs, sorted by step and name."""
        written = {self._path(one.step, one.name): one for one in read_failures(self._out)}
        return _sorted([*(written | self._unwritten).values()])

    def _remove(self, path: Path) -> None:
        remove(path)
        self._on_change(path)

    def path_of(self, step: Step, name: str) -> Path:
        """Return the file of the record of a failure, which may not exist."""
        return self._path(step, as_utf8(name))

    def _path(self, step: Step, name: str) -> Path:
        digest = hashlib.sha256(f"{step} {name}".encode()).hexdigest()
        return self._out / FAILURES_FOLDER / f"{digest[:_NAME_DIGITS]}.json"


def read_failures(out: Path) -> list[FailureRecord]:
    """Return the failures in an output folder, sorted by step and name."""
    paths = (out / FAILURES_FOLDER).glob("*.json")
    return _sorted([one for path in paths if (one := read_model(path, FailureRecord))])


def _sorted(records: list[FailureRecord]) -> list[FailureRecord]:
    return sorted(records, key=lambda one: (one.step != SEGMENTATION, one.name))
