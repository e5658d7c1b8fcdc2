"""What `wmh-infer --dry-run` prints."""

from __future__ import annotations

from wmh_runtime.cli import console
from wmh_runtime.cohort.case.corrected_masks import remarks_on_manual_masks
from wmh_runtime.cohort.job import Job
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import summarize_skipped
from wmh_runtime.errors import InputError
from wmh_runtime.files.reading import is_file
from wmh_runtime.outputs.existing_results import sidecars_in
from wmh_runtime.text import count_noun


def print_plan(job: Job) -> None:
    """List each scan with its mask, and each file that is skipped with the reason."""
    finished = corrected = 0
    refused = []
    for case in job.cases:
        if problem := _problem_of_series(job, case):
            refused.append(f"{case.relative.as_posix()}: {problem}")
        masks = [paths.mask for paths in job.paths(case)]
        is_there = all(is_file(paths.sidecar) for paths in job.paths(case))
        finished += is_there
        images = " + ".join(
            [case.relative.as_posix(), *(path.name for path in case.others.values())]
        )
        notes = ["has a result"] if is_there else []
        if manual := job.manual.of_scan(case.relative):
            corrected += 1
            notes.append(f"corrected mask of {', '.join(manual)}")
        if case.origin:
            notes.append(case.origin)
        state = f" ({', '.join(notes)})" if notes else ""
        console.print_line(f"{images} -> {', '.join(map(job.name_of, masks))}{state}")
        for note in case.notes:
            console.print_warning(f"{case.relative.as_posix()}: {note}")
    for line in refused:
        console.print_warning(f"will fail: {line}")
    for mask in sorted(job.name_clashes):
        console.print_warning(
            f"{job.name_of(mask)}: of several scans, which will fail: rename them"
        )
    for unreadable in job.found.unreadable:
        console.print_warning(
            f"{job.name_of(unreadable.path)}: cannot be read; the scans in it are missing"
        )
    if job.found.dataset and job.found.dataset.warning:
        console.print_warning(job.found.dataset.warning)
    for line in job.dicom.remarks if job.dicom else ():
        console.print_warning(line)
    for line in remarks_on_manual_masks(job, sidecars_in(job.out)):
        console.print_warning(line)
    for skipped in job.found.skipped:
        console.print_line(f"skipped {skipped.path.as_posix()}: {skipped.reason}")
    done = ""
    if finished:
        kept = "made again" if job.overwrite else "kept if input and settings are the same"
        done = f", {finished} of them with results, which are {kept}"
    console.print_line(f"{count_noun(len(job.cases), 'scan')} to segment{done}")
    if corrected:
        console.print_line(f"{count_noun(corrected, 'scan')} with a corrected mask")
    if job.found.skipped:
        console.print_line(f"{summarize_skipped(job.found.skipped)} to skip")
    console.print_line("nothing was written")


def _problem_of_series(job: Job, case: Case) -> str:
    """Return why the series of a case makes no volume; empty: it makes one, or is no series."""
    try:
        if job.dicom is not None:
            job.dicom.volume(case)
    except InputError as error:
        return error.problem
    return ""
