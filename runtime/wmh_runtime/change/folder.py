"""Measure the change of all subjects of a folder of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wmh_runtime.change.comparability import require_comparable
from wmh_runtime.change.measure import inputs_sha256, measure_change
from wmh_runtime.change.record import ChangeRecord, read_change_record
from wmh_runtime.change.report.writer import ChangeWriter, files_of_change
from wmh_runtime.change.visits import Visit
from wmh_runtime.claims.claims import Claims
from wmh_runtime.dataset.bids import LONGITUDINAL, change_record_name
from wmh_runtime.errors import WmhError
from wmh_runtime.files.case_failure import case_failure
from wmh_runtime.preprocessing.registration import require_registration


@dataclass
class ChangeOutcome:
    """What became of the subjects, in their order."""

    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # nothing that decides the result has changed
    failed: list[tuple[str, WmhError]] = field(default_factory=list)
    not_begun: int = 0  # the user asked to stop


def change_of_folder(
    out: Path,
    groups: Mapping[str, Sequence[Visit] | WmhError],
    claims: Claims,
    *,
    overwrite: bool = False,
    on_subject: Callable[[str, ChangeRecord | WmhError], None] = lambda *_: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> ChangeOutcome:
    """Measure the change of each subject, and write it into the folder `longitudinal`.

    A subject that fails does not stop the others. A subject is kept if a result of the same files,
    dates and rules is there.

    Args:
        out: folder of results.
        groups: subject → visits, earliest first, or why they are not known; see
            `visits_of_results` and `visits_of_table`.
        claims: of this run. A subject that another run measures is waited for.
        overwrite: measure again what could be kept.
        on_subject: called with the record of each subject, or with the reason why it failed.
        should_stop: no more subjects are begun once it returns true.

    Raises:
        InputError: SimpleITK is not installed.
    """
    require_registration("longitudinal")
    outcome = ChangeOutcome()
    for index, (subject, visits) in enumerate(groups.items()):
        if should_stop():
            outcome.not_begun = len(groups) - index
            break
        try:
            if isinstance(visits, WmhError):
                raise visits
            with claims.wait_for(claim_of_change(subject)):
                record = None if overwrite else _find_existing(out, visits, subject)
                finished = outcome.done if record is None else outcome.kept
                record = record or _measure_and_write(visits, subject, out)
        except Exception as error:
            failure = case_failure(error, Path(subject), out)
            outcome.failed.append((subject, failure))
            on_subject(subject, failure)
        else:
            finished.append(subject)
            on_subject(subject, record)
    return outcome


def claim_of_change(subject: str) -> str:
    """Name the claim of the change of a subject."""
    return f"change of {subject}"


def _measure_and_write(visits: Sequence[Visit], subject: str, out: Path) -> ChangeRecord:
    require_comparable(visits, subject)  # before its name is used for files
    writer = ChangeWriter(subject, out)
    record = measure_change(visits, subject, writer.write_interval)
    writer.finish(record)
    return record


def _find_existing(out: Path, visits: Sequence[Visit], subject: str) -> ChangeRecord | None:
    """Return the record of an earlier run if it is complete, and of the same inputs."""
    record = read_change_record(out / LONGITUDINAL / change_record_name(subject))
    files = files_of_change(out, subject, visits)
    if record is None or not all(file.exists() for file in files):
        return None
    try:
        is_same = record.inputs_sha256 == inputs_sha256(visits, subject)
    except OSError:
        return None  # reading the file will report the reason
    return record if is_same else None
