"""Segment a folder of scans: find them, open the bundle on this machine, run, write."""

from __future__ import annotations

from pathlib import Path

from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cohort.job import Job, Outcome, Progress
from wmh_runtime.cohort.run import run
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.inference.backend_selection import AUTO, open_backends
from wmh_runtime.inference.options import InferenceOptions


def segment_folder(
    source: Path | str,
    out: Path | str,
    bundle: Bundle,
    options: InferenceOptions | None = None,
    *,
    save_probability: bool = False,
    overwrite: bool = False,
    fail_fast: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Segment every FLAIR scan of a folder, as `wmh-infer` does.

    A scan that cannot be used does not stop the others. Results of an earlier run with the same
    settings are kept, so the same call resumes a run that was stopped.

    Args:
        source: folder of NIfTI scans, or one scan.
        out: folder for the results; its subfolders mirror the source.
        bundle: from `load_bundle`.
        options: backend, precision, views and thresholds; None: the defaults.
        save_probability: also write probability maps.
        overwrite: replace existing results.
        fail_fast: begin no more scans after the first failure.
        progress: is called with the progress of the run.

    Returns:
        The scans that are done, kept from an earlier run, and failed with the reason.

    Raises:
        InputError: there is no scan, the output folder cannot be used, the bundle takes several
            images of each subject, or the options contradict each other.
        BackendError: no backend can run the bundle as the options ask.
        BundleError: the bundle has no graph or no calibration for the options.
        DeviceLostError: a device failed; the same call resumes the run.
        InterruptionError: Ctrl-C or SIGTERM; the same call resumes the run.
    """
    source, out = Path(source), Path(out)
    options, progress = options or InferenceOptions(), progress or Progress()
    outputs = options.outputs(bundle)
    found = discover(source, out)
    progress.discovered(found)
    job = Job(
        found.scans,
        out,
        bundle,
        outputs,
        tta=options.tta,
        save_probability=save_probability,
        overwrite=overwrite,
        unreadable=found.unreadable,
        fail_fast=fail_fast,
        any_backend=options.backend == AUTO,
        threads=options.threads,
    )
    with open_backends(bundle, options.backend, options.backend_options) as opened:
        progress.opened(opened)
        return run(job, opened.backends, progress)
