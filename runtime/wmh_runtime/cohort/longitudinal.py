"""Measure the change of the lesions of each subject, after its visits were segmented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from wmh_runtime.change.folder import ChangeOutcome, change_of_folder
from wmh_runtime.change.results import visits_of_results, visits_of_table
from wmh_runtime.change.visits import Visit
from wmh_runtime.cohort.job import Job, Progress
from wmh_runtime.dataset.case import Case

SESSIONS = "sessions"  # the names of the results say subjects and sessions


def measure_changes(job: Job, progress: Progress) -> ChangeOutcome:
    """Measure the change of each subject with several visits, and write it beside its results.

    Raises:
        InputError: the table of visits cannot be used.
    """
    groups = _visits(job)
    progress.comparing(len(groups))
    return change_of_folder(job.out, groups, overwrite=job.overwrite, on_subject=progress.compared)


def failures_of(outcome: ChangeOutcome) -> list[tuple[Case, Exception]]:
    """Return the subjects that failed, for the table of failures."""
    return [(Case(Path(name), Path(f"{name}, change")), why) for name, why in outcome.failed]


def _visits(job: Job) -> Mapping[str, Sequence[Visit]]:
    output = job.outputs[0].name
    if job.longitudinal == SESSIONS:
        return visits_of_results(job.out, job.found.root, output)
    return visits_of_table(Path(str(job.longitudinal)), job.out, output)
