"""Measure the change of all subjects of a folder of results."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wmh_runtime.change.measure import inputs_sha256, measure_change
from wmh_runtime.change.names import change_record_name
from wmh_runtime.change.record import ChangeRecord, read_change_record
from wmh_runtime.change.report.writer import files_of_change, write_change
from wmh_runtime.change.visits import Visit
from wmh_runtime.errors import WmhError
from wmh_runtime.files.case_failure import case_failure
from wmh_runtime.preprocessing.registration import require_registration


@dataclass
class ChangeOutcome:
    """What became of the subjects, in their order."""

    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # nothing that decides the result has changed
    failed: list[tuple[str, WmhError]] = field(default_factory=list)
    records: dict[str, Path] = field(default_factory=dict)  # JSON file of each that is there


def change_of_folder(
    out: Path,
    groups: Mapping[str, Sequence[Visit]],
    *,
    overwrite: bool = False,
    on_subject: Callable[[str, ChangeRecord | WmhError], None] = lambda *_: None,
) -> ChangeOutcome:
    """Measure the change of each subject, and write it beside its results.

    A subject that fails does not stop the others. A subject is kept if a result of the same files,
    dates and rules is there.

    Args:
        out: folder of results.
        groups: subject → visits, earliest first; see `visits_of_results` and `visits_of_table`.
        overwrite: measure again what could be kept.
        on_subject: called with the record of each subject, or with the reason why it failed.

    Raises:
        InputError: SimpleITK is not installed.
    """
    require_registration("longitudinal")
    outcome = ChangeOutcome()
    for subject, visits in groups.items():
        folder = _folder_of(visits, out)
        path = folder / change_record_name(subject)
        try:
            record = None if overwrite else _find_existing(path, visits, subject)
            is_kept = record is not None
            record = record or _measure_and_write(visits, subject, folder)
        except Exception as error:
            failure = case_failure(error, Path(subject), out)
            outcome.failed.append((subject, failure))
            on_subject(subject, failure)
            continue
        (outcome.kept if is_kept else outcome.done).append(subject)
        outcome.records[subject] = path
        on_subject(subject, record)
    return outcome


def _measure_and_write(visits: Sequence[Visit], subject: str, folder: Path) -> ChangeRecord:
    change = measure_change(visits, subject)
    write_change(change, visits, folder)
    return change.record


def _find_existing(path: Path, visits: Sequence[Visit], subject: str) -> ChangeRecord | None:
    """Return the record of an earlier run if it is complete, and of the same inputs."""
    record = read_change_record(path)
    files = files_of_change(path.parent, subject, visits)
    if record is None or not all(file.exists() for file in files):
        return None
    try:
        is_same = record.inputs_sha256 == inputs_sha256(visits, subject)
    except OSError:
        return None  # reading the file will report the reason
    return record if is_same else None


def _folder_of(visits: Sequence[Visit], out: Path) -> Path:
    """Return the folder within `out` that holds all results of a subject; else `out` itself."""
    parents = [visit.mask.parent.absolute() for visit in visits]
    common = Path(os.path.commonpath(parents)) if parents else out
    return common if common.is_relative_to(out.absolute()) else out
