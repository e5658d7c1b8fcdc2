"""What is written of the whole output folder at the end of a run: tables and report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from wmh_runtime.change.report.table import write_changes
from wmh_runtime.change.stored import StoredChanges, read_changes
from wmh_runtime.cohort.job import Job, Outcome
from wmh_runtime.outputs.existing_results import unreadable_results
from wmh_runtime.outputs.folder_results import FolderResults, read_results
from wmh_runtime.outputs.reviews import Reviews
from wmh_runtime.outputs.tables.results import write_tables
from wmh_runtime.report.page import write_report
from wmh_runtime.text import count_noun


def summarize_folder(job: Job, reviews: Reviews, outcome: Outcome) -> list[str]:
    """Write the tables and the report of all results in the output folder.

    Args:
        job: with the folder.
        reviews: marks of readers.
        outcome: of the job. Scans that failed are in `failures.csv` only, even if they have a
            result of an earlier run.

    Returns:
        What is to be known about the results, one line each.

    Raises:
        InputError: a file cannot be written.
    """
    failed_scans = {case.relative.as_posix() for case, _ in outcome.failed}
    found = read_results(job.out, reviews, failed_scans)
    changes = read_changes(job.out, found.results, [name for name, _ in outcome.changes.failed])
    with ExitStack() as all_files:  # if one cannot be written, the others still are
        all_files.callback(write_report, job.out, found, reviews, changes.current)
        all_files.callback(write_changes, job.out, changes.current)
        all_files.callback(
            write_tables, job.out, found.results, outcome.failed, outcome.changes.failed
        )
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
