"""Measure the change of the lesions of each subject, after its visits were segmented."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from wmh_runtime.change.folder import ChangeOutcome, change_of_folder
from wmh_runtime.change.longitudinal_table import TableVisit, read_longitudinal_table
from wmh_runtime.change.results import (
    VisitsOfSubjects,
    real_path,
    visits_of_results,
    visits_of_table,
)
from wmh_runtime.cohort.job import Job, Progress
from wmh_runtime.cohort.shutdown import GracefulShutdown
from wmh_runtime.dataset.discovery import Discovery
from wmh_runtime.errors import InputError, InterruptionError
from wmh_runtime.files.reading import is_file
from wmh_runtime.files.tables import TABLE_SUFFIXES
from wmh_runtime.outputs.folder_results import Result, read_results
from wmh_runtime.outputs.paths import output_paths
from wmh_runtime.outputs.reviews import Reviews
from wmh_runtime.text import count_noun

SESSIONS = "sessions"  # the names of the results say subjects and sessions


def read_visits(
    table: Path, found: Discovery, out: Path, output: str
) -> Mapping[str, Sequence[TableVisit]]:
    """Read a table of visits, and check that each of its scans will have a result.

    Args:
        table: see `read_longitudinal_table`.
        found: the scans to segment.
        out: folder of results.
        output: of the model.

    Raises:
        InputError: the table cannot be used, or has scans that are not segmented.
    """
    if table.suffix.lower() not in TABLE_SUFFIXES and not is_file(table):
        problem = f"is {table}, expected {SESSIONS} or a table"
        raise InputError(problem, "Give one of them.", about="longitudinal")
    visits = read_longitudinal_table(table)
    to_segment = {real_path(case.path) for case in found.scans}
    root = found.root.resolve()

    def has_result(scan: Path) -> bool:
        """Return whether an earlier run has segmented a scan."""
        real = real_path(scan)
        relative = real.relative_to(root) if real.is_relative_to(root) else None
        return relative is not None and is_file(output_paths(out, relative, output).sidecar)

    lacking = [
        row.scan
        for rows in visits.values()
        for row in rows
        if real_path(row.scan) not in to_segment and not has_result(row.scan)
    ]
    if lacking:
        count = count_noun(len(lacking), "scan")
        problem = f"names {count} that are not segmented, such as {lacking[0]}"
        advice = "Segment them in the same run, or remove them from the table."
        raise InputError(problem, advice, about=table)
    return visits


def measure_changes(
    job: Job, reviews: Reviews, failed_scans: Iterable[str], progress: Progress
) -> ChangeOutcome:
    """Measure the change of each subject with several visits, and write it beside its results.

    Args:
        job: with the folder of results.
        reviews: marks of readers; scans that they exclude are left out.
        failed_scans: paths of scans that are left out: their results may be of other files.
        progress: is called for each subject.

    Raises:
        InterruptionError: the user asked to stop; the subject that was begun is finished.
    """
    results = read_results(job.out, reviews, set(failed_scans)).results
    output = job.outputs[0].name
    used = [one for one in results if one.output == output and not one.is_excluded]
    groups = _visits(job, used)
    if not groups:
        advice = (
            "the names of the results say no subject with two sessions"
            if job.visits is None
            else "no subject of the table has two scans with results"
        )
        progress.warned(f"nothing to compare over time: {advice}")
        return ChangeOutcome()
    progress.comparing(len(groups))
    with GracefulShutdown(lambda: progress.stopping(0), progress.aborted) as shutdown:
        outcome = change_of_folder(
            job.out,
            groups,
            overwrite=job.overwrite,
            on_subject=progress.compared,
            should_stop=lambda: shutdown.requested,
        )
        begun = len(outcome.done) + len(outcome.kept) + len(outcome.failed)
    if begun < len(groups):
        so_far = f"stopped after comparing {begun} of {count_noun(len(groups), 'subject')}"
        raise InterruptionError(so_far, "The same command continues.")
    return outcome


def _visits(job: Job, results: Sequence[Result]) -> VisitsOfSubjects:
    paths = {case.relative: case.path for case in job.cases}
    if job.visits is None:
        return visits_of_results(results, job.out, job.found.root, paths)
    return visits_of_table(job.visits, results, job.out, job.found.root, paths)
