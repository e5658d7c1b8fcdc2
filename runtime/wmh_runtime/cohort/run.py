"""Run a job: segment all of its cases, and write the tables of the output folder."""

from __future__ import annotations

from contextlib import suppress

from wmh_runtime.cohort.case.corrected_masks import remarks_on_manual_masks
from wmh_runtime.cohort.case.worker import RunningCase
from wmh_runtime.cohort.engine import Engine, Runner
from wmh_runtime.cohort.job import Job, Outcome, Progress
from wmh_runtime.cohort.longitudinal import measure_changes
from wmh_runtime.cohort.sharing.collect import collect
from wmh_runtime.cohort.sharing.shared_folder import SharedFolder, share_folder
from wmh_runtime.cohort.sharing.status import expect, read_status
from wmh_runtime.cohort.shutdown import GracefulShutdown
from wmh_runtime.errors import DeviceLostError, InputError, InterruptionError, WmhError
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.files.listing import Listing
from wmh_runtime.files.temporary import remove_temporary_files
from wmh_runtime.outputs.bids_derivative import write_description
from wmh_runtime.outputs.existing_results import sidecars_in
from wmh_runtime.outputs.failures import SEGMENTATION
from wmh_runtime.outputs.paths import STATE_FOLDER
from wmh_runtime.outputs.reviews import REVIEWS_NAME, Reviews, keep_reviews, read_reviews
from wmh_runtime.outputs.tables.results import require_replaceable
from wmh_runtime.outputs.tables.skipped import write_skipped
from wmh_runtime.text import count_noun

_SHOWN = 5  # corrected masks that are not used, by name


def run(job: Job, engine: Engine, progress: Progress) -> Outcome:
    """Segment all cases of a job. A case that fails does not stop the others, whatever it raises.

    Other runs may work on the same output folder. They share the cases, and each of them ends when
    all are done. In the end, `volumes.csv` lists all results in the output folder, those of other
    runs too, and `failures.csv` what has failed and has not been segmented since. `skipped.csv`
    lists the files that are not scans.

    Args:
        job: what to do.
        engine: segments the cases.
        progress: is called for each case.

    Raises:
        InputError: the output folder cannot be written, or all results in it were made with other
            settings.
        DeviceLostError: a device failed.
        InterruptionError: the user asked to stop; the cases that were begun are finished.
    """
    outcome = Outcome()
    make_writable_folder(job.out)
    with share_folder(job) as shared:
        reviews = _prepare(job, shared, progress)
        _report_unreadable(job, shared, outcome, progress)
        try:
            is_stopped = _run_cases(job, engine, shared, progress, outcome)
            if job.is_longitudinal and is_stopped:
                progress.warned("the visits were not compared, because the run was stopped")
            elif job.is_longitudinal:
                outcome.changes = measure_changes(job, reviews, shared, progress)
                if not_begun := outcome.changes.not_begun:
                    so_far = f"stopped with {count_noun(not_begun, 'subject')} not compared yet"
                    raise InterruptionError(so_far, _how_to_continue(job))
        except BaseException:
            with suppress(InputError):  # what stopped the run is reported instead
                collect(job.out, shared.claims, shared.failures.all, job.stored)
            raise
        for line in collect(job.out, shared.claims, shared.failures.all, job.stored):
            progress.warned(job.stored.shown(f"{job.out}: {line}"))
        _warn_of_others(job, progress)
        if job.shard is not None:
            outcome.folder = read_status(job.out, shared.claims)
    return outcome


def _warn_of_others(job: Job, progress: Progress) -> None:
    """Say that results are of scans that are not in the input folder: they are in the tables."""
    if not job.knows_all:
        return
    own = {to.sidecar for case in job.found.scans for to in job.paths(case)}
    if others := sorted(sidecars_in(job.out) - own):
        name = others[0].relative_to(job.out).as_posix()
        progress.warned(
            "the tables have results of scans that are not in this input folder"
            f" ({len(others)}, such as {name}): remove the files of those that are outdated"
        )


def _prepare(job: Job, shared: SharedFolder, progress: Progress) -> Reviews:
    """Write what is known before the first case; return the marks of readers."""
    with shared.claims.wait_for("files of the folder", progress.held_up) as claim:
        shared.claims.clear_after(claim, job.out, job.out / STATE_FOLDER)
        job.stored.reread_folder_files(job.out)
        require_replaceable(job.out)
        reviews = (
            keep_reviews(job.out, job.reviewed)
            if job.reviewed
            else read_reviews(job.out / REVIEWS_NAME, is_optional=True)
        )
        write_skipped(job.out, [*job.found.skipped, *job.manual.unused])
        if job.found.dataset and job.found.dataset.warning:
            progress.warned(job.stored.shown(job.found.dataset.warning))
        if job.dicom:
            job.dicom.keep_names()
        for line in job.dicom.remarks if job.dicom else ():
            progress.warned(job.stored.shown(line))
        for line in remarks_on_manual_masks(job, shared.existing, limit=_SHOWN):
            progress.warned(job.stored.shown(line))
        if job.knows_all:
            with suppress(InputError):  # it is for the status only
                expect(job.out, job.source, len(job.found.scans), len(job.outputs))
        if (dataset := job.found.dataset) and (
            warning := write_description(job.out, dataset, job.link)
        ):
            progress.warned(job.stored.shown(f"{job.out}: {warning}"))
        job.stored.store_folder_files(job.out)
    # No folder is asked for that is missing: see listing.py.
    listing = Listing(job.out)
    for folder in {job.out, *(job.paths(case)[0].mask.parent for case in job.cases)}:
        if folder == job.out or listing.has(folder):
            remove_temporary_files(folder)
    if job.knows_all:
        known = (*job.found.scans, *job.found.unreadable)
        shared.failures.forget_others(SEGMENTATION, {one.relative.as_posix() for one in known})
    return reviews


def _report_unreadable(
    job: Job, shared: SharedFolder, outcome: Outcome, progress: Progress
) -> None:
    """Report folders that cannot be read as failed: the scans in them are missing."""
    for unreadable in job.found.unreadable:
        advice = "Check its permissions: the scans in it are missing."
        error = InputError("is a folder that cannot be read", advice, about=unreadable.path)
        shared.failures.add(SEGMENTATION, unreadable.relative.as_posix(), error)
        outcome.failed.append((unreadable, error))
        progress.failed(unreadable, error)


def _run_cases(
    job: Job, engine: Engine, shared: SharedFolder, progress: Progress, outcome: Outcome
) -> bool:
    """Segment the cases; return whether the run was stopped, or left out cases after a failure."""
    runner: Runner | None = None

    def on_request() -> None:
        progress.stopping(len(runner.unfinished) if runner else 0)

    def on_abort() -> None:
        if job.stored.results is None:  # the process may end at once, without the network
            shared.claims.release_all()
        progress.aborted()

    with (
        GracefulShutdown(on_request, on_abort) as shutdown,
        engine.open(job, shared) as opened,
    ):
        runner = opened
        for running, event in runner.advance(
            lambda: shutdown.requested or (job.fail_fast and bool(outcome.failed))
        ):
            if event == "done":
                _report(running, progress, outcome)
            elif event == "progress":
                progress.predicted(running.case, running.share)
            else:
                progress.waiting(runner.elsewhere, runner.owner(running.case))
    finished = len(outcome.kept) + len(outcome.done)
    so_far = f"stopped after {finished} of {count_noun(len(job.cases), 'scan')}"
    if isinstance(lost := runner.fatal, DeviceLostError):
        raise DeviceLostError(f"{lost.problem}: {so_far}", lost.remedy, about=lost.about) from lost
    if runner.fatal is not None:
        raise runner.fatal
    not_begun = len(job.cases) + len(job.found.unreadable) - finished - len(outcome.failed)
    if shutdown.requested and not_begun:
        raise InterruptionError(so_far, _how_to_continue(job))
    return shutdown.requested or not_begun > 0


def _how_to_continue(job: Job) -> str:
    if job.overwrite:
        return "With the overwrite option the same command begins with the first again."
    return "The same command continues."


def _report(running: RunningCase, progress: Progress, outcome: Outcome) -> None:
    """Report that a case is done or has failed."""
    case, error = running.case, running.result.exception()
    if error is None:
        (outcome.kept if running.is_kept else outcome.done).append(case)
        progress.done(case, running.result.result(), kept=running.is_kept)
    elif isinstance(error, WmhError) and not isinstance(error, DeviceLostError):
        outcome.failed.append((case, error))
        progress.failed(case, error)
