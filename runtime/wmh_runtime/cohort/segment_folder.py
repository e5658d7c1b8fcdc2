"""Segment a folder of scans: open its job and the bundle on this machine, and run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cohort.job import Job, Outcome, Progress
from wmh_runtime.cohort.local_engine import LocalEngine
from wmh_runtime.cohort.plan import FolderOptions, plan_job
from wmh_runtime.cohort.run import run
from wmh_runtime.cohort.stored.local_folders import local_folders
from wmh_runtime.inference.backend_selection import open_backends
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.tta import Tta


def segment_folder(
    source: Path | str,
    out: Path | str,
    bundle: Bundle,
    options: InferenceOptions | None = None,
    folder_options: FolderOptions | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Segment every FLAIR scan of a folder, as `wmh-infer` does.

    A scan that cannot be used does not stop the others. Results of an earlier run with the same
    settings are kept, so the same call resumes a run that was stopped.

    Args:
        source: folder of NIfTI scans, BIDS data set, one scan, a table with a column for each
            channel, or a list of paths; or DICOM files: a folder, a zip archive, or one file. A
            folder of scans may be in object storage, such as `s3://bucket/scans`.
        out: folder for the results; its subfolders mirror the source. It may be in object storage.
        bundle: from `load_bundle`.
        options: backend, precision, views and thresholds; None: the defaults.
        folder_options: which scans, and what to write; None: all, and the default files.
        progress: is called with the progress of the run.

    Returns:
        The scans that are done, kept from an earlier run, and failed with the reason.

    Raises:
        InputError: there is no scan, a scan lacks an image that the bundle needs, the output folder
            cannot be used or would mix results with the scans, the options contradict each
            other, or a library that the bundle needs is not installed.
        BackendError: no backend can run the bundle as the options ask.
        BundleError: the bundle has no graph or no calibration for the options.
        DeviceLostError: a device failed; the same call resumes the run.
        InterruptionError: Ctrl-C or SIGTERM; the same call resumes the run.
    """
    options, progress = options or InferenceOptions(), progress or Progress()
    with (
        open_job(source, out, bundle, options, folder_options, progress) as job,
        open_regions(job.regions_bundle, options) as region_segmenter,
        open_backends(bundle, options.backend, options.backend_options) as opened,
    ):
        progress.begun(str(opened))
        progress.opened(opened)
        engine = LocalEngine(opened.backends, region_segmenter=region_segmenter)
        return run(job, engine, progress)


@contextmanager
def open_job(
    source: Path | str,
    out: Path | str,
    bundle: Bundle,
    options: InferenceOptions,
    folder_options: FolderOptions | None,
    progress: Progress,
) -> Iterator[Job]:
    """Find what to do; scans and results in object storage have folders here for the block.

    The arguments and errors are those of `segment_folder`.
    """
    with local_folders(source, out) as folders:
        planned = plan_job(folders.source, folders.out, bundle, options, folder_options)
        job = folders.job_with_storage(planned)
        progress.discovered(job)
        for line in folders.remarks:
            progress.warned(line)
        yield job


@contextmanager
def open_regions(bundle: Bundle | None, options: InferenceOptions) -> Iterator[Segmenter | None]:
    """Open a bundle for regions, in the same precision, with eight views or one."""
    if bundle is None:
        yield None
        return
    tta: Tta = "none" if options.tta == "none" else "full"
    own = replace(options, tta=tta, threshold=None, min_lesion_mm3=None)
    with Segmenter.from_bundle(bundle, own) as segmenter:
        yield segmenter
