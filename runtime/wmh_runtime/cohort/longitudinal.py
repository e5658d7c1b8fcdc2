"""Measure the change of the lesions of each subject, after its visits were segmented."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from wmh_runtime.change.folder import ChangeOutcome, change_of_folder, claim_of_change
from wmh_runtime.change.longitudinal_table import TableVisit, read_longitudinal_table
from wmh_runtime.change.record import ChangeRecord, read_change_record
from wmh_runtime.change.report.writer import remove_change
from wmh_runtime.change.results import VisitsOfSubjects, visits_of_results, visits_of_table
from wmh_runtime.change.stored import read_changes
from wmh_runtime.claims.claims import Claims
from wmh_runtime.cohort.job import Job, Progress
from wmh_runtime.cohort.sharing.shared_folder import SharedFolder
from wmh_runtime.cohort.shutdown import GracefulShutdown
from wmh_runtime.dataset.bids import LONGITUDINAL, change_record_name
from wmh_runtime.dataset.discovery import Discovery
from wmh_runtime.dataset.subjects import session_from_name, subject_of_scan
from wmh_runtime.errors import InputError, WmhError
from wmh_runtime.files.reading import is_file, real_path
from wmh_runtime.files.tables import TABLE_SUFFIXES
from wmh_runtime.outputs.failures import COMPARISON, SEGMENTATION
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
    relative_of = {real_path(case.path): case.relative for case in found.images}
    root = found.root.resolve()

    def has_result(scan: Path) -> bool:
        """Return whether an earlier run has segmented a scan."""
        real = real_path(scan)
        inner = real.relative_to(root) if real.is_relative_to(root) else None
        relative = relative_of.get(real, inner)
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
        advice = "Give all of these scans to this run, or remove them from the table."
        raise InputError(problem, advice, about=table)
    return visits


def measure_changes(
    job: Job, reviews: Reviews, shared: SharedFolder, progress: Progress
) -> ChangeOutcome:
    """Measure the change of each subject with several visits and a scan in this run.

    Changes that are not of results in use any more are removed.

    Args:
        job: with the folder of results.
        reviews: marks of readers; scans that they exclude are left out.
        shared: claims and failures of the folder. Scans that failed are left out: their results
            may be of other files.
        progress: is called for each subject.
    """
    output = job.outputs[0].name
    failed_scans = {one.name for one in shared.failures.all() if one.step == SEGMENTATION}
    every = read_results(job.out, reviews).results
    found = [one for one in every if one.output == output]
    used = [one for one in found if not one.is_excluded and one.scan.as_posix() not in failed_scans]
    groups = _visits(job, used)
    for line in (
        *_remove_outdated(job.out, every, groups, shared.claims),
        *_left_out(job, found, failed_scans),
    ):
        progress.warned(line)
    if job.knows_all and job.shard is None:
        shared.failures.forget_others(COMPARISON, groups)
    if not groups:
        where = "the names of the results" if job.visit_table is None else "the table"
        progress.warned(
            f"nothing to compare over time: {where} say no two visits of a subject of this run"
        )
        return ChangeOutcome()

    def on_subject(subject: str, found: ChangeRecord | WmhError) -> None:
        if isinstance(found, WmhError):
            shared.failures.add(COMPARISON, subject, found)
        else:
            shared.failures.remove(COMPARISON, subject)
        progress.compared(subject, found)

    progress.comparing(len(groups))
    with GracefulShutdown(lambda: progress.stopping(0), progress.aborted) as shutdown:
        return change_of_folder(
            job.out,
            groups,
            shared.claims,
            overwrite=job.overwrite,
            on_subject=on_subject,
            should_stop=lambda: shutdown.requested,
        )


def _visits(job: Job, results: Sequence[Result]) -> VisitsOfSubjects:
    """Return the visits of the subjects of this run, with those that earlier runs segmented."""
    files = {case.relative: case.path for case in job.cases}
    if job.visit_table is None:
        groups = visits_of_results(results, job.out, job.found.root, files)
        subjects = {subject_of_scan(relative) for relative in files}
    else:
        groups = visits_of_table(job.visit_table, results, job.out, job.found.root, files)
        of_run = set(map(real_path, files.values()))
        subjects = {
            subject
            for subject, rows in job.visit_table.items()
            if any(real_path(row.scan) in of_run for row in rows)
        }
    return {subject: visits for subject, visits in groups.items() if subject in subjects}


def _left_out(job: Job, results: Sequence[Result], failed: Collection[str]) -> Iterator[str]:
    """Say which visits are not compared, and why."""
    reasons = {one.scan.as_posix(): "excluded by a reader" for one in results if one.is_excluded}
    reasons |= dict.fromkeys(failed, "failed")
    of_table = None
    if job.visit_table is not None:
        rows = (row for visits in job.visit_table.values() for row in visits)
        of_table = {real_path(row.scan) for row in rows}
    files = {case.relative.as_posix(): case.path for case in job.cases}
    of_run = {subject_of_scan(case.relative) for case in job.cases}
    for scan, reason in sorted(reasons.items()):
        if of_table is None:
            is_visit = session_from_name(scan) and subject_of_scan(Path(scan)) in of_run
        else:
            is_visit = real_path(files.get(scan, job.found.root / scan)) in of_table
        if is_visit:
            yield f"{scan}: not compared over time: {reason}"


def _remove_outdated(
    out: Path, results: Sequence[Result], groups: VisitsOfSubjects, claims: Claims
) -> Iterator[str]:
    """Remove changes that nobody should take as current; yield what could not be removed.

    They are of results that are not used any more, or of scans that are now visits of a subject
    with another name. Results of scans that failed now are not known to be outdated.
    """
    visits = (
        one for group in groups.values() if not isinstance(group, InputError) for one in group
    )
    scans = {visit.name for visit in visits}
    stored = read_changes(out, results)
    renamed = [
        record
        for record in stored.current
        if record.subject not in groups and any(visit.scan in scans for visit in record.visits)
    ]
    for record in (*stored.outdated, *renamed):
        claim = claims.try_claim(claim_of_change(record.subject))
        if claim is None:
            continue  # another run measures it again
        path = out / LONGITUDINAL / change_record_name(record.subject)
        try:
            if read_change_record(path) == record:
                remove_change(out, record.subject)
        except InputError as error:
            yield f"an outdated change is still there: {error}"
        finally:
            claims.release(claim)
