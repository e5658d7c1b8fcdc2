"""Make the tables and the report of an output folder from all results and failures in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from wmh_runtime.change.report.table import write_changes
from wmh_runtime.change.stored import StoredChanges, read_changes
from wmh_runtime.claims.claims import Claim, Claims
from wmh_runtime.cohort.sharing.table_requests import requests_in
from wmh_runtime.cohort.stored.stored_files import NOT_STORED, StoredFiles
from wmh_runtime.outputs.existing_results import unreadable_results
from wmh_runtime.outputs.failures import COMPARISON, SEGMENTATION, FailureRecord
from wmh_runtime.outputs.folder_results import FolderResults, read_results
from wmh_runtime.outputs.reviews import REVIEWS_NAME, read_reviews
from wmh_runtime.outputs.tables.results import write_tables
from wmh_runtime.report.page import write_report
from wmh_runtime.text import count_noun

_CLAIM = "tables and report"
_POLL_S = 1.0


def collect(
    out: Path,
    claims: Claims,
    read_failed: Callable[[], Sequence[FailureRecord]],
    stored: StoredFiles = NOT_STORED,
) -> list[str]:
    """Make the tables and the report, once for all runs that ask for it at the same time.

    They are of what is in the folder after this was called. When many runs end together, one of
    them makes the tables, and the others wait for it.

    Args:
        out: output folder.
        claims: of this run.
        read_failed: returns the failures in the folder.
        stored: the folder stands for one in object storage. Its masks are not read, so corrections
            by hand are not noticed.

    Returns:
        What is to be known about the results, one line each; nothing if another run made the
        tables, and said it.

    Raises:
        InputError: a file cannot be read or written.
    """
    requests = requests_in(out, stored)
    own = requests.make()
    try:
        while own in requests.names():
            claim = claims.try_claim(_CLAIM)
            if claim is None:
                time.sleep(_POLL_S)
                continue
            try:
                claims.clear_after(claim, out)
                asked = requests.names()  # before anything is read
                stored.fetch_for_tables()
                reads_masks = stored.results is None
                remarks = _make_tables(out, read_failed(), claim, reads_masks=reads_masks)
                if remarks is None or not claim.is_held:
                    continue
                stored.store_folder_files(out)
                for one in asked:
                    requests.remove(one)
                return remarks
            finally:
                claims.release(claim)
        return []
    finally:
        requests.remove(own)


def _make_tables(
    out: Path,
    failed: Sequence[FailureRecord],
    claim: Claim | None = None,
    *,
    reads_masks: bool = True,
) -> list[str] | None:
    """Write the tables and the report.

    If this run stood still so long that another one has the claim, it writes nothing, and returns
    None: what it has read may be outdated.

    Scans that failed are in `failures.csv` only, even if they have a result of an earlier run: it
    may be of another file.
    """
    reviews = read_reviews(out / REVIEWS_NAME, is_optional=True)
    failed_scans = {one.name for one in failed if one.step == SEGMENTATION}
    found = read_results(out, reviews, failed_scans, reads_masks=reads_masks)
    not_compared = {one.name for one in failed if one.step == COMPARISON}
    changes = read_changes(out, found.results, not_compared)
    if claim is not None and not claim.is_held:
        return None
    with ExitStack() as all_files:  # if one cannot be written, the others still are
        all_files.callback(write_report, out, found, reviews, changes.current)
        all_files.callback(write_changes, out, changes.current)
        all_files.callback(write_tables, out, found.results, failed)
    return [*_remarks(found), *_remarks_on_changes(changes)]


def _remarks_on_changes(changes: StoredChanges) -> Iterator[str]:
    if outdated := changes.outdated:
        count = count_noun(len(outdated), "subject")
        yield (
            f"the change of {count} over time, such as {outdated[0].subject}, is of results"
            " that are not used any more: it is not in the report. Compare the visits again"
        )


def _remarks(found: FolderResults) -> Iterator[str]:
    if sidecars := found.unreadable:
        missing = "They are not in the table: segment these scans again, with overwriting."
        yield f"{unreadable_results(sidecars)}. {missing}"
    if folders := found.other_folders:
        yield (
            f"{folders[0].as_posix()} in it is an output folder, too: its results are also in these"
            " tables. Give each run a folder outside of the others"
        )
    if masks := found.edited:
        count = count_noun(len(masks), "mask")
        yield (
            f"{count} changed or removed since written, such as {masks[0].name}: the table has"
            " volume and lesions as they were before"
        )
    if scans := found.repeated:
        yield (
            f"{len(scans)} scans are copies of one another, such as {scans[0]}: the table has a row"
            " for each, so count them once"
        )
    if scans := found.outdated_reviews:
        count = count_noun(len(scans), "review")
        yield f"{count} of masks that were made again, such as that of {scans[0]}: not used"
    if scans := found.unused_reviews:
        yield f"{count_noun(len(scans), 'review')} of scans without a result, such as {scans[0]}"
