"""The runner: segments the cases of a job, several at a time, and reports them in order."""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from wmh_runtime.cohort.job import Job
from wmh_runtime.cohort.scan_memory import MemoryBudget, estimate_scan_bytes
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import InputError, WmhError
from wmh_runtime.imageio.nifti_reader import read_grid, read_scan
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.inference.segmenter import Segmenter, require_channels
from wmh_runtime.inference.trace import OnSpan, StageTimes
from wmh_runtime.machine import available_cores
from wmh_runtime.outputs.existing_results import find_existing_results
from wmh_runtime.outputs.paths import OutputPaths
from wmh_runtime.outputs.sidecar import Provenance, Sidecar
from wmh_runtime.outputs.writer import write_results
from wmh_runtime.postprocessing.postprocess import postprocess
from wmh_runtime.preprocessing.preprocess import preprocess

_CHECK_SIGNALS_S = 0.5  # Windows does not interrupt a wait
_HELPERS_PER_DEVICE = 4  # threads that preprocess for it, and as many that write


@contextmanager
def case_threads(devices: int) -> Iterator[CaseThreads]:
    """Open the threads of the cases; on a second Ctrl-C they are not waited for."""
    helpers = max(1, min(_HELPERS_PER_DEVICE * devices, available_cores() // 2))
    threads = CaseThreads(devices + 2 * helpers)
    try:
        yield threads
    except BaseException as error:
        threads.shutdown(wait=not isinstance(error, KeyboardInterrupt), cancel_futures=True)
        raise
    threads.shutdown()


class CaseThreads(ThreadPoolExecutor):
    """Threads that process one case each."""

    def __init__(self, count: int) -> None:
        super().__init__(count, "case")
        self.count = count


@dataclass(eq=False)
class RunningCase:
    """A case, from when it is taken up until it is reported."""

    case: Case
    paths: Sequence[OutputPaths]  # of the results, for each output
    needed_bytes: int = 0  # of memory
    refusal: InputError | None = None  # why it cannot be segmented, unless it is finished already
    share: float = 0.0  # of the network's work that is done, 0 to 1
    is_kept: bool = False  # it was finished by an earlier run
    result: Future[list[Sidecar]] = field(default_factory=Future)


@dataclass(frozen=True)
class Runner:
    """Segments the cases of a job.

    Args:
        job: what to do.
        segmenter: open.
        provenance: for the sidecars.
        name_clashes: masks that several cases would write.
        pool: threads, one for each case that is processed at a time.
        on_span: is told what each thread does.
    """

    job: Job
    segmenter: Segmenter
    provenance: Provenance
    name_clashes: Collection[Path]
    pool: CaseThreads
    on_span: OnSpan
    memory: MemoryBudget = field(default_factory=MemoryBudget)
    running: deque[RunningCase] = field(default_factory=deque)  # in the order of the cases
    changed: threading.Event = field(default_factory=threading.Event)  # a case got further

    def process_case(self, running: RunningCase) -> list[Sidecar]:
        """Segment one scan, from its file to the files of its results."""
        model, stage = self.segmenter.model, StageTimes(self.on_span)

        def on_progress(share: float) -> None:
            running.share = share
            self.changed.set()

        with stage("read"):
            scans = _read_scans(running.case, model.channels)
        with stage("preprocess"):
            preprocessed = preprocess(scans, model.preprocessing)
        prediction = self.segmenter.predictor.predict(preprocessed.slices, on_progress)
        with stage("postprocess"):
            segmentation = postprocess(prediction, preprocessed, model.outputs)
        with stage("write"):
            return write_results(
                scans[0],
                segmentation,
                self.provenance,
                running.paths,
                stage.seconds | {"predict": prediction.seconds},
                save_probability=self.job.save_probability,
            )

    def advance(self, should_stop: Callable[[], bool]) -> Iterator[RunningCase]:
        """Yield each case when it is done, in order; and the first one whenever it got further.

        Args:
            should_stop: no more cases are begun once it returns true.
        """
        cases = map(self._take_up, self.job.cases)
        following, reported_share = next(cases, None), 0.0
        while self.running or following:
            self.changed.clear()
            if should_stop():
                following = None
            first = self.running[0] if self.running else None
            if first and first.result.done():
                reported_share = 0.0
                yield self.running.popleft()
            elif following and self._has_room_for(following):
                self.running.append(following)
                if not following.result.done():
                    self.pool.submit(self._process_or_keep, following)
                following = next(cases, None)
            elif first and first.share > reported_share:
                reported_share = first.share
                yield first
            else:
                self.changed.wait(_CHECK_SIGNALS_S)

    @property
    def unfinished(self) -> list[RunningCase]:
        """The cases that are being processed."""
        return [running for running in tuple(self.running) if not running.result.done()]

    def _take_up(self, case: Case) -> RunningCase:
        """Read from the header of a scan how much memory it needs."""
        running = RunningCase(case, self.job.paths(case))
        try:
            shape, affine = read_grid(case.path)
            manifest = self.job.bundle.manifest
            needed_bytes = estimate_scan_bytes(
                shape, affine, manifest.preprocessing, manifest.network_shape
            )
            running.refusal = self.memory.refusal(needed_bytes)
            running.needed_bytes = 0 if running.refusal else needed_bytes
        except WmhError as error:
            running.result.set_exception(error)
        return running

    def _has_room_for(self, following: RunningCase) -> bool:
        unfinished = self.unfinished
        if following.result.done() or not unfinished:
            return True  # it has failed already, or has all memory for itself
        taken_bytes = sum(running.needed_bytes for running in unfinished)
        return len(unfinished) < self.pool.count and self.memory.has_room(
            following.needed_bytes, taken_bytes
        )

    def _process_or_keep(self, running: RunningCase) -> None:
        try:
            sidecars = self._existing_results(running)
            running.is_kept = sidecars is not None
            if sidecars is None:
                if running.refusal is not None:
                    raise running.refusal
                sidecars = self.process_case(running)
            running.result.set_result(sidecars)
        except BaseException as error:  # is raised where the case is reported
            traceback.clear_frames(error.__traceback__)  # so that it does not keep the voxels
            running.result.set_exception(error)
        self.changed.set()

    def _existing_results(self, running: RunningCase) -> list[Sidecar] | None:
        """Return the results of an earlier run; None if the case has to be segmented."""
        job, path = self.job, running.case.path
        try:
            str(running.case.relative).encode()
        except UnicodeEncodeError as error:
            advice = "Rename it, or set a UTF-8 locale."
            raise InputError("has a name that is not UTF-8", advice, about=path) from error
        if (mask := running.paths[0].mask) in self.name_clashes:
            problem = f"would be written to {mask.name}, and so would another scan"
            raise InputError(problem, "Rename one of them.", about=path)
        if job.overwrite:
            return None
        return find_existing_results(
            path,
            running.paths,
            self.provenance.settings,
            with_probability=job.save_probability,
            any_backend=job.any_backend,
        )


def _read_scans(case: Case, channels: Sequence[str]) -> list[Scan]:
    """Read the scan of each channel."""
    scans = [read_scan(case.path)]
    require_channels(scans, channels)
    return scans
