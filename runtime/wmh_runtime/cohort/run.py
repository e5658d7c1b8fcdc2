"""Run a job: segment all of its cases, and write the tables of the output folder."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from threadpoolctl import threadpool_limits

from wmh_runtime.backends.base import Backend
from wmh_runtime.cohort.corrected_masks import remarks_on_manual_masks
from wmh_runtime.cohort.job import Job, Outcome, Progress
from wmh_runtime.cohort.longitudinal import measure_changes
from wmh_runtime.cohort.runner import Runner, RunningCase, max_cases
from wmh_runtime.cohort.shutdown import GracefulShutdown
from wmh_runtime.cohort.summary import summarize_folder
from wmh_runtime.errors import DeviceLostError, InputError, InterruptionError
from wmh_runtime.files.case_failure import case_failure
from wmh_runtime.files.folder_lock import lock_folder
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.files.temporary import remove_temporary_files
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.inference.trace import OnSpan, ignore_span
from wmh_runtime.outputs.bids_derivative import write_description
from wmh_runtime.outputs.existing_results import require_same_settings
from wmh_runtime.outputs.reviews import REVIEWS_NAME, keep_reviews, read_reviews
from wmh_runtime.outputs.settings import OtherInputs, Provenance
from wmh_runtime.outputs.tables.results import require_replaceable
from wmh_runtime.outputs.tables.skipped import write_skipped
from wmh_runtime.text import count_noun

_SHOWN = 5  # corrected masks that are not used, by name


def run(
    job: Job,
    backends: Sequence[Backend],
    progress: Progress,
    on_span: OnSpan = ignore_span,
    region_segmenter: Segmenter | None = None,
) -> Outcome:
    """Segment all cases of a job. A case that fails does not stop the others, whatever it raises.

    In the end, `volumes.csv` lists all results in the output folder, those of earlier runs too, and
    `failures.csv` the failures of this run. `skipped.csv` lists the files that are not scans.

    Args:
        job: what to do.
        backends: open, for the job's bundle, one for each device: of one view for the tta `none`
            and `adaptive`, of eight views for `full`.
        progress: is called for each case.
        on_span: is called with what each thread does.
        region_segmenter: open, of the job's bundle for regions; None: there is none.

    Raises:
        InputError: the output folder cannot be written, another run uses it, or all results in it
            were made with other settings.
        DeviceLostError: a device failed.
        InterruptionError: the user asked to stop; the cases that were begun are finished.
    """
    outcome = Outcome()
    make_writable_folder(job.out)
    with lock_folder(job.out):
        require_replaceable(job.out)
        reviews = (
            keep_reviews(job.out, job.reviewed)
            if job.reviewed
            else read_reviews(job.out / REVIEWS_NAME, is_optional=True)
        )
        write_skipped(job.out, [*job.found.skipped, *job.manual.unused])
        if job.found.dataset and job.found.dataset.warning:
            progress.warned(job.found.dataset.warning)
        if job.dicom:
            job.dicom.keep_names()
        for line in job.dicom.remarks if job.dicom else ():
            progress.warned(line)
        for line in remarks_on_manual_masks(job, limit=_SHOWN):
            progress.warned(line)
        if (dataset := job.found.dataset) and (warning := write_description(job.out, dataset)):
            progress.warned(f"{job.out}: {warning}")
        for folder in {job.out, *(job.paths(case)[0].mask.parent for case in job.cases)}:
            remove_temporary_files(folder, is_alone=True)
        for unreadable in job.found.unreadable:
            advice = "Check its permissions: the scans in it are missing."
            error = InputError("is a folder that cannot be read", advice, about=unreadable.path)
            outcome.failed.append((unreadable, error))
            progress.failed(unreadable, error)
        try:
            # Scans are preprocessed in parallel. Idle threads of numpy would spin, and take the
            # cores from the network.
            with threadpool_limits(1, user_api="blas"):
                is_stopped = _run_cases(job, backends, progress, outcome, on_span, region_segmenter)
            if job.is_longitudinal and is_stopped:
                progress.warned("the visits were not compared, because the run was stopped")
            elif job.is_longitudinal:
                failed = {case.relative.as_posix() for case, _ in outcome.failed}
                outcome.changes = measure_changes(job, reviews, failed, progress)
                if not_begun := outcome.changes.not_begun:
                    so_far = f"stopped with {count_noun(not_begun, 'subject')} not compared yet"
                    raise InterruptionError(so_far, _how_to_continue(job))
        except BaseException:
            with suppress(InputError):  # what stopped the run is reported instead
                summarize_folder(job, reviews, outcome)
            raise
        for line in summarize_folder(job, reviews, outcome):
            progress.warned(f"{job.out}: {line}")
    return outcome


def _run_cases(
    job: Job,
    backends: Sequence[Backend],
    progress: Progress,
    outcome: Outcome,
    on_span: OnSpan,
    region_segmenter: Segmenter | None,
) -> bool:
    """Segment the cases; return whether the run was stopped, or left out cases after a failure."""
    others = OtherInputs(
        registered=job.register,
        regions_model_id=job.regions_bundle.manifest.model_id if job.regions_bundle else "",
    )
    provenance = Provenance.of(job.bundle, job.outputs, backends[0], job.tta, others)
    if not job.overwrite:
        require_same_settings(
            job.out, map(job.paths, job.cases), provenance.settings, any_backend=job.any_backend
        )
    runner: Runner | None = None

    def on_request() -> None:
        progress.stopping(len(runner.unfinished) if runner else 0)

    with (
        GracefulShutdown(on_request, progress.aborted) as shutdown,
        ThreadPoolExecutor(max_cases(len(backends), job.threads), "case") as pool,
        Segmenter(job.model, backends, on_span) as segmenter,
    ):
        runner = Runner(job, segmenter, provenance, pool, on_span, region_segmenter)
        for running, is_done in runner.advance(
            lambda: shutdown.requested or (job.fail_fast and bool(outcome.failed))
        ):
            if is_done:
                _report(running, progress, outcome, job)
            else:
                progress.predicted(running.case, running.share)
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


def _report(running: RunningCase, progress: Progress, outcome: Outcome, job: Job) -> None:
    """Report that a case is done or has failed."""
    case, error = running.case, running.result.exception()
    if error is None:
        (outcome.kept if running.is_kept else outcome.done).append(case)
        progress.done(case, running.result.result(), kept=running.is_kept)
    elif isinstance(error, Exception) and not isinstance(error, DeviceLostError):
        failure = case_failure(error, case.path, job.out, hides_values=job.dicom is not None)
        outcome.failed.append((case, failure))
        progress.failed(case, failure)
