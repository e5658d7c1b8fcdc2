"""The changes that are stored in a folder of results, and which of them are outdated."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from wmh_runtime.change.record import ChangeRecord, read_change_record
from wmh_runtime.dataset.bids import CHANGE_RECORD_SUFFIX
from wmh_runtime.outputs.folder_results import Result


@dataclass(frozen=True)
class StoredChange:
    """The change of a subject."""

    record: ChangeRecord
    folder: Path  # of its files, relative to the folder of results
    scans: tuple[str, ...]  # paths of its visits, as in volumes.csv


@dataclass
class StoredChanges:
    """The changes of all subjects, in the order of their names."""

    current: list[StoredChange] = field(default_factory=list)
    outdated: list[StoredChange] = field(default_factory=list)  # of masks that are not used now


def read_changes(
    out: Path, results: Iterable[Result], failed: Collection[str] = ()
) -> StoredChanges:
    """Read the changes in a folder of results.

    Args:
        out: the folder.
        results: that are used. A change is current if the masks of all its visits are among them.
        failed: subjects that could not be compared now; changes of earlier runs are left out.
    """
    scans = {
        (one.mask.name, one.sidecar.mask_sha256): one.scan.as_posix()
        for one in results
        if not one.mask_edits and not one.is_excluded
    }
    found = StoredChanges()
    for path in sorted(out.rglob(f"*{CHANGE_RECORD_SUFFIX}")):
        record = read_change_record(path)
        if record is not None and record.subject not in failed:
            used = [scans.get((visit.mask, visit.mask_sha256)) for visit in record.visits]
            stored = StoredChange(
                record, path.parent.relative_to(out), tuple(scan for scan in used if scan)
            )
            (found.outdated if None in used else found.current).append(stored)
    found.current.sort(key=lambda one: one.record.subject)
    return found
