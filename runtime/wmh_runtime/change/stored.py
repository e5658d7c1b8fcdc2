"""The changes that are stored in a folder of results, and which of them are outdated."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from wmh_runtime.change.record import ChangeRecord, VisitRecord, read_change_record
from wmh_runtime.dataset.bids import CHANGE_RECORD_SUFFIX, LONGITUDINAL
from wmh_runtime.outputs.folder_results import Result


@dataclass
class StoredChanges:
    """The changes of all subjects, in the order of their names."""

    current: list[ChangeRecord] = field(default_factory=list)
    outdated: list[ChangeRecord] = field(default_factory=list)  # of results that are not used now


def read_changes(
    out: Path, results: Iterable[Result], failed: Collection[str] = ()
) -> StoredChanges:
    """Read the changes in a folder of results.

    Args:
        out: the folder.
        results: that are used. A change is current if the scans and masks of all its visits are
            those of results, no mask was edited since, and no reader has excluded one.
        failed: subjects that could not be compared now; changes of earlier runs are left out.
    """
    used = {_key_of_result(one) for one in results if not one.mask_edits and not one.is_excluded}
    found = StoredChanges()
    for path in sorted((out / LONGITUDINAL).glob(f"*{CHANGE_RECORD_SUFFIX}")):
        record = read_change_record(path)
        if record is not None and record.subject not in failed:
            is_current = used.issuperset(map(_key_of_visit, record.visits))
            (found.current if is_current else found.outdated).append(record)
    found.current.sort(key=lambda record: record.subject)
    return found


def _key_of_result(result: Result) -> tuple[str, ...]:
    sidecar = result.sidecar
    scan = result.scan.as_posix()
    return scan, sidecar.input_sha256, result.mask.name, sidecar.mask_sha256


def _key_of_visit(visit: VisitRecord) -> tuple[str, ...]:
    return visit.scan, visit.scan_sha256, visit.mask, visit.mask_sha256
