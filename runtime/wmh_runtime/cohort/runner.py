"""A whole folder of scans: each is segmented or its failure told, and one table of volumes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cohort.output_lock import lock_folder
from wmh_runtime.cohort.pipeline import Pipeline, Work
from wmh_runtime.cohort.scan_memory import estimate_scan_bytes
from wmh_runtime.cohort.shutdown import GracefulShutdown
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import DeviceLostError, InputError, InterruptionError, WmhError
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.files.temporary import remove_temporary_files
from wmh_runtime.imageio.nifti_reader import read_grid, read_scan
from wmh_runtime.inference.packing import Again, Load
from wmh_runtime.inference.segmenter import Begun, begin, end
from wmh_runtime.inference.trace import OnSpan, ignore_span
from wmh_runtime.machine import available_cores, free_bytes
from wmh_runtime.outputs.existing_results import find_existing_results, require_same_settings
from wmh_runtime.outputs.sidecar import Settings, Sidecar
from wmh_runtime.outputs.tables import require_replaceable, write_failures, write_volumes
from wmh_runtime.outputs.writer import OutputPaths, output_paths, write_output
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.text import count_noun
from wmh_runtime.tta import Tta
from wmh_runtime.types import Floats

_SHARE_OF_FREE_MEMORY = 0.8  # the rest is for the files' cache and for what else is at work


@dataclass(frozen=True)
class Job:
    """What is asked for: which scans, by which model, to where."""

    scans: Sequence[Case]
    out: Path
    bundle: Bundle
    outputs: Sequence[Output]  # the bundle's, or with thresholds and sizes of the user's
    tta: Tta = "full"
    with_probability: bool = False
    overwrite: bool = False
    unreadable: Sequence[Case] = ()  # folders: whatever scans they hold have failed
    fail_fast: bool = False  # the first failure is the end
    any_backend: bool = False  # what another one made, in the same precision, is finished as well


@dataclass
class Outcome:
    """What became of it, in the order of the scans."""

    done: list[Case] = field(default_factory=list)
    kept: list[Case] = field(default_factory=list)  # finished before, with the same settings
    failed: list[tuple[Case, WmhError]] = field(default_factory=list)


class Progress:
    """What a caller hears of a running job, in its own thread. The default says nothing."""

    def executed(self, scan: Case, share: float) -> None:
        """This share, 0 to 1, of a scan has been executed."""

    def done(self, scan: Case, records: Sequence[Sidecar], *, kept: bool) -> None:
        """A scan is finished, or had been before; one record for each output."""

    def failed(self, scan: Case, error: WmhError) -> None:
        """A scan could not be segmented."""

    def ending(self, on_their_way: int) -> None:
        """The user asked for the end, and so many scans are being finished."""


def run(
    job: Job, backends: Sequence[Backend], progress: Progress, on_span: OnSpan = ignore_span
) -> Outcome:
    """Segment every scan of a job. A failure does not stop the others.

    At the end, however it comes, `volumes.csv` tells of every finished result in the output
    folder, those of earlier runs included, and `failures.csv` of what failed in this one.

    Args:
        job: what to do.
        backends: open, for the job's bundle, one for each device: of one view where `job.tta` is
            `none` or `adaptive`, of eight where it is `full`.
        progress: is told of each scan.
        on_span: hears of all that the threads do.

    Raises:
        InputError: the output folder or a table cannot be written, another run is at work there, or
            all that it holds of these scans was made with other settings.
        DeviceLostError: a device is gone.
        InterruptionError: the user asked for the end; what was on its way is finished.
    """
    make_writable_folder(job.out)
    with lock_folder(job.out):
        require_replaceable(job.out)
        paths = {scan: _paths(job, scan) for scan in job.scans}
        for folder in {job.out, *(first.mask.parent for first, *_ in paths.values())}:
            remove_temporary_files(folder, is_alone=True)
        outcome = Outcome()
        for sealed in job.unreadable:
            outcome.failed.append((sealed, _unreadable(sealed)))
            progress.failed(*outcome.failed[-1])
        try:
            # Scans are prepared beside each other: numpy's own threads would only wait, spinning,
            # for cores that execute the network.
            with threadpool_limits(1, user_api="blas"):
                _run(job, paths, backends, progress, outcome, on_span)
        except BaseException as error:
            with suppress(InputError):  # what ended it is what the user should hear of
                _write_tables(job, outcome)
            if isinstance(error, DeviceLostError):
                problem = f"{error.problem}: stopped after {_so_far(job, outcome)}"
                raise DeviceLostError(problem, error.remedy, about=error.about) from error
            raise
        _write_tables(job, outcome)
    return outcome


def _write_tables(job: Job, outcome: Outcome) -> None:
    with ExitStack() as both:  # where one cannot be written, the other still is
        both.callback(write_volumes, job.out)
        both.callback(write_failures, job.out, outcome.failed)


def _run(
    job: Job,
    paths: Mapping[Case, list[OutputPaths]],
    backends: Sequence[Backend],
    progress: Progress,
    outcome: Outcome,
    on_span: OnSpan,
) -> None:
    settings = [Settings.of(job.bundle, output, backends[0], job.tta) for output in job.outputs]
    if not job.overwrite:
        require_same_settings(job.out, paths.values(), settings, any_backend=job.any_backend)
    names = Counter(first.mask for first, *_ in paths.values())
    works = (
        _ScanWork(job, scan, to, settings, backends[0], is_alone=names[to[0].mask] == 1)
        for scan, to in paths.items()
    )

    def is_to_end() -> bool:
        return interruption.requested or (job.fail_fast and bool(outcome.failed))

    pipeline: Pipeline[_ScanWork] = Pipeline(
        backends,
        _again(settings),
        free_bytes=lambda: int(_SHARE_OF_FREE_MEMORY * free_bytes()),
        helpers=_helpers(len(backends)),
        is_to_end=is_to_end,
        on_span=on_span,
    )
    with GracefulShutdown(lambda: progress.ending(pipeline.on_their_way)) as interruption:
        for one in pipeline.run(works):
            work = one.work
            if not one.is_out:
                progress.executed(work.scan, one.share)
            elif one.error is None:
                (outcome.kept if work.kept else outcome.done).append(work.scan)
                progress.done(work.scan, work.records, kept=work.kept)
            else:
                error = _told(one.error, work.scan)
                outcome.failed.append((work.scan, error))
                progress.failed(work.scan, error)
    told = len(outcome.kept) + len(outcome.done) + len(outcome.failed) - len(job.unreadable)
    if interruption.requested and told < len(job.scans):
        goes_on = "The same command goes on."
        begins_anew = "With --overwrite the same command begins with the first again."
        raise InterruptionError(
            f"stopped after {_so_far(job, outcome)}", begins_anew if job.overwrite else goes_on
        )


def _unreadable(folder: Case) -> InputError:
    advice = "Check its permissions: the scans in it are missing."
    return InputError("is a folder that cannot be read", advice, about=folder.path)


def _so_far(job: Job, outcome: Outcome) -> str:
    return f"{len(outcome.kept) + len(outcome.done)} of {count_noun(len(job.scans), 'scan')}"


def _told(error: WmhError, scan: Case) -> WmhError:
    """Return an error that names its scan."""
    if error.about is None or not isinstance(error, InputError):
        return type(error)(f"{error}", about=scan.path)
    return error


def _again(settings: Sequence[Settings]) -> Again | None:
    """Return what decides whether a slice is looked at in all views."""
    bounds = [one.empty_below for one in settings if one.empty_below is not None]
    if not bounds:
        return None
    limits = np.array(bounds, np.float32)

    def is_not_certainly_empty(probability: Floats) -> bool:
        return bool((probability >= limits[:, None, None]).any())

    return is_not_certainly_empty


def _helpers(devices: int) -> int:
    """Return how many threads prepare, and finish: a few for each device."""
    return max(1, min(4 * devices, available_cores() // 2))


def _paths(job: Job, scan: Case) -> list[OutputPaths]:
    return [output_paths(job.out, scan.relative, output.name) for output in job.outputs]


class _ScanWork(Work):
    """One scan of a job."""

    def __init__(
        self,
        job: Job,
        scan: Case,
        paths: list[OutputPaths],
        settings: Sequence[Settings],
        backend: Backend,
        *,
        is_alone: bool,
    ) -> None:
        self.scan = scan
        self.records: list[Sidecar] = []
        self.kept = False
        self._job = job
        self._paths = paths
        self._settings = settings
        self._backend = backend
        self._is_alone = is_alone
        self._begun: Begun | None = None

    def bytes_needed(self) -> int:
        shape, affine = read_grid(self.scan.path)
        manifest = self._job.bundle.manifest
        return estimate_scan_bytes(shape, affine, manifest.preprocessing, manifest.network_shape)

    def is_finished(self) -> bool:
        job, scan = self._job, self.scan
        try:
            str(scan.relative).encode()
        except UnicodeEncodeError as error:
            problem = "has a name that is not UTF-8"
            raise InputError(
                problem, "Rename it, or set a locale of UTF-8.", about=scan.path
            ) from error
        if not self._is_alone:
            raise InputError(
                f"would be written to {self._paths[0].mask.name}, and so would another scan",
                "Rename one of them.",
                about=scan.path,
            )
        if job.overwrite:
            return False
        records = find_existing_results(
            scan.path,
            self._paths,
            self._settings,
            with_probability=job.with_probability,
            any_backend=job.any_backend,
        )
        self.records, self.kept = records or [], records is not None
        return self.kept

    def preprocess(self) -> Floats:
        image = read_scan(self.scan.path)
        preprocessing = self._job.bundle.manifest.preprocessing
        self._begun = begin([image], preprocessing, self._backend.shape.channels)
        return self._begun.prepared.slices

    def finish(self, load: Load) -> None:
        assert self._begun is not None
        job, begun = self._job, self._begun
        begun.seconds["execute"] = round(load.seconds, 4)
        (image,) = begun.channels
        in_all_views = len(load.slices) if job.tta == "full" else load.looked_again
        segmentation = end(begun, load.probability, job.outputs)
        for result, to, made_with in zip(
            segmentation.results, self._paths, self._settings, strict=True
        ):
            record = Sidecar.of(
                image,
                segmentation,
                result,
                made_with,
                self._backend,
                slices_in_all_views=in_all_views,
                warning=job.bundle.manifest.warning,
            )
            write_output(image, result, record, to, with_probability=job.with_probability)
            self.records.append(record)
        self._begun = None  # its voxels are not needed any more
