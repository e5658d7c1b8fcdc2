"""The runner: segments the cases of a job, several at a time, and reports them in order.

Several runs may work on one output folder. Each case is claimed before it is segmented. Cases that
another run has are left to it, and looked at again when there is nothing else to do.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from wmh_runtime.claims.claims import Claim
from wmh_runtime.cohort.case.corrected_masks import describe_manual_masks
from wmh_runtime.cohort.case.memory import MemoryBudget, estimate_scan_bytes
from wmh_runtime.cohort.case.processor import CaseProcessor
from wmh_runtime.cohort.job import Job
from wmh_runtime.cohort.shared_folder import SharedFolder
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import DeviceLostError, InputError
from wmh_runtime.files.case_failure import case_failure
from wmh_runtime.files.process import ProcessId
from wmh_runtime.files.reading import is_file
from wmh_runtime.files.temporary import remove_temporary_files_of
from wmh_runtime.imageio.nifti_reader import read_grid
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.inference.trace import OnSpan
from wmh_runtime.machine import available_cores
from wmh_runtime.outputs.existing_results import find_existing_results
from wmh_runtime.outputs.failures import SEGMENTATION
from wmh_runtime.outputs.paths import OutputPaths
from wmh_runtime.outputs.settings import Provenance
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.report.viewer import write_viewers

if TYPE_CHECKING:  # needs optional libraries
    from wmh_runtime.dicom.scans import DicomScans

_CHECK_SIGNALS_S = 0.5  # Windows does not interrupt a wait
_LOOK_AGAIN_S = 1.0  # at the cases that other runs have
_CASES_BEFORE_A_DEVICE = 4  # that are read and preprocessed, and as many that are written


def max_cases(devices: int, threads: int | None) -> int:
    """Return how many cases are processed at a time: one on each device, and some around it.

    Args:
        devices: how many there are.
        threads: that may work at a time. A thread whose case is on a device waits. None: one per
            core, and at least two more than devices, so that no device waits.
    """
    around = max(1, min(_CASES_BEFORE_A_DEVICE * devices, (threads or available_cores()) // 2))
    most = devices + 2 * around
    return most if threads is None else max(devices, min(most, threads))


class _ClaimLostError(Exception):
    """This run stood still for so long that another one took the case."""


@dataclass(eq=False)
class RunningCase:
    """A case, from when its header is read until it is reported."""

    case: Case
    paths: Sequence[OutputPaths]  # of the results, for each output
    needed_bytes: int = 0  # of memory
    refusal: InputError | None = None  # why it cannot be segmented, unless it is finished already
    share: float = 0.0  # of the network's work that is done, 0 to 1
    is_kept: bool = False  # it was finished by another run
    is_elsewhere: bool = False  # another run works on it
    look_again_at: float = 0.0  # then, by the monotonic clock
    result: Future[list[Sidecar]] = field(default_factory=Future)

    @property
    def name(self) -> str:
        """What it is claimed and recorded as: the path of the scan."""
        return self.case.relative.as_posix()


class Runner:
    """Segments the cases of a job.

    Args:
        job: what to do.
        shared: claims and failures of the output folder.
        segmenter: open.
        provenance: for the sidecars.
        pool: threads that process one case each.
        region_segmenter: open, of a bundle that predicts the regions; None: the job's bundle does.
        on_span: is called with what each thread does.
    """

    def __init__(
        self,
        job: Job,
        shared: SharedFolder,
        segmenter: Segmenter,
        provenance: Provenance,
        pool: Executor,
        on_span: OnSpan,
        region_segmenter: Segmenter | None = None,
    ) -> None:
        self.job = job
        self.provenance = provenance
        self.fatal: BaseException | None = None  # what stops the run, such as a lost device
        self._shared = shared
        self._processor = CaseProcessor(job, segmenter, provenance, on_span, region_segmenter)
        self._pool = pool
        self._max_cases = max_cases(len(segmenter.backends), job.threads)
        self._memory = MemoryBudget()
        self._running: deque[RunningCase] = deque()  # in the order of the cases
        self._elsewhere: deque[RunningCase] = deque()  # in the order in which to look at them
        self._changed = threading.Event()  # a case made progress
        self._name_clashes = job.name_clashes

    def advance(
        self, should_stop: Callable[[], bool]
    ) -> Iterator[tuple[RunningCase, Literal["done", "progress", "elsewhere"]]]:
        """Yield each case once when it is done, in order; and the first one when it made progress.

        Cases that other runs have come last.

        Args:
            should_stop: no more cases are begun once it returns true, or `fatal` is set.

        Yields:
            A case, and what became of it: it is done; it made progress, and may be done a moment
            later; or another run has it, and there is nothing else to do.
        """
        cases = map(self._take_up, self.job.cases)
        following, reported_share = next(cases, None), 0.0
        while self._running or following or self._elsewhere:
            self._changed.clear()
            if self.fatal is not None or should_stop():
                following = None
                self._elsewhere.clear()
            first = self._running[0] if self._running else None
            if first and first.result.done():
                reported_share = 0.0
                self._running.popleft()
                if first.is_elsewhere:
                    self._elsewhere.append(first)
                else:
                    yield first, "done"
            elif following and self._has_room_for(following):
                self._running.append(following)
                if not following.result.done():
                    self._pool.submit(self._process_or_keep, following)
                following = next(cases, None)
            elif first and first.share > reported_share:
                reported_share = first.share
                yield first, "progress"
            elif again := None if following else self._due_again():
                following = again
            else:
                if self._elsewhere and not first:
                    yield self._elsewhere[0], "elsewhere"
                self._changed.wait(_CHECK_SIGNALS_S)

    @property
    def unfinished(self) -> list[RunningCase]:
        """The cases that are being processed."""
        return [running for running in tuple(self._running) if not running.result.done()]

    @property
    def elsewhere(self) -> list[Case]:
        """The cases that other runs have."""
        return [running.case for running in self._elsewhere]

    def owner(self, case: Case) -> ProcessId | None:
        """Return the process of another run that has a case, as far as it is known."""
        return self._shared.claims.owner(case.relative.as_posix())

    def _due_again(self) -> RunningCase | None:
        """Return a case of another run that it is time to look at again."""
        if not self._elsewhere or time.monotonic() < self._elsewhere[0].look_again_at:
            return None
        running = self._elsewhere.popleft()
        running.is_elsewhere, running.result = False, Future()
        return running

    def _take_up(self, case: Case) -> RunningCase:
        """Read from the header of a scan how much memory it needs."""
        running = RunningCase(case, self.job.paths(case))
        try:
            running.case = case = self.job.with_files(case)
            shape, affine = read_grid(case.path)
            others = [read_grid(path)[0] for path in case.others.values()]
            if self.job.atlas is not None:
                others.append(read_grid(self.job.atlas.image_of(case))[0])
            manifest, region_bundle = self.job.bundle.manifest, self.job.regions_bundle
            of_regions = region_bundle.manifest if region_bundle else None
            needed_bytes = estimate_scan_bytes(
                shape,
                affine,
                manifest.network_shape,
                images=len(manifest.channels),
                planes=manifest.preprocessing.planes,
                regions=len((of_regions or manifest).regions),
                other_shapes=others,
                region_network=of_regions.network_shape if of_regions else None,
                region_planes=of_regions.preprocessing.planes if of_regions else ("axial",),
            )
            running.refusal = self._memory.refusal(needed_bytes)
            running.needed_bytes = 0 if running.refusal else needed_bytes
        except BaseException as error:
            self._fail(running, error)
        return running

    def _has_room_for(self, following: RunningCase) -> bool:
        unfinished = self.unfinished
        if following.result.done() or not unfinished:
            return True  # it has failed already, or has all memory for itself
        taken_bytes = sum(running.needed_bytes for running in unfinished)
        return len(unfinished) < self._max_cases and self._memory.has_room(
            following.needed_bytes, taken_bytes
        )

    def _process_or_keep(self, running: RunningCase) -> None:
        """Find or make the results of a case, unless another run is at it.

        Nothing of the results is looked at before the case is claimed. So no file system remembers
        that they were missing then.
        """
        claim = None
        try:
            self._require_own_name(running)
            claim = self._shared.claims.try_claim(running.name)
            if claim is None:
                self._leave(running)
            elif failure := self._shared.failures.of_other_run(SEGMENTATION, running.name):
                running.result.set_exception(failure)
            else:
                sidecars = self._find_or_make_results(running, claim)
                self._shared.failures.remove(SEGMENTATION, running.name)
                running.result.set_result(sidecars)
        except _ClaimLostError:
            self._leave(running)
        except BaseException as error:
            self._fail(running, error)
        finally:
            if claim is not None:
                self._shared.claims.release(claim)
            self._changed.set()

    def _find_or_make_results(self, running: RunningCase, claim: Claim) -> list[Sidecar]:
        """Return the results of a case that is claimed; make what is missing."""
        if claim.before is not None:
            remove_temporary_files_of(claim.before, running.paths[0].mask.parent)

        def on_progress(share: float) -> None:
            running.share = share
            self._changed.set()

        def require_claim() -> None:
            if not claim.is_held:
                raise _ClaimLostError

        sidecars = self._existing_results(running)
        running.is_kept = sidecars is not None
        if sidecars is None:
            if running.refusal is not None:
                raise running.refusal
            sidecars = self._processor.process(
                running.case, running.paths, on_progress, require_claim
            )
        if self.job.dicom is not None and self.job.extras.dicom:
            self._write_dicom(running, sidecars, self.job.dicom)
        if self.job.extras.viewer:
            write_viewers(running.case, running.paths, is_new=not running.is_kept)
        return sidecars

    def _leave(self, running: RunningCase) -> None:
        """Leave a case to the run that has it."""
        running.is_elsewhere = True
        running.look_again_at = time.monotonic() + _LOOK_AGAIN_S
        running.result.set_result([])

    def _write_dicom(
        self, running: RunningCase, sidecars: Sequence[Sidecar], dicom: DicomScans
    ) -> None:
        """Write the DICOM results, unless an earlier run did."""
        from wmh_runtime.dicom_results.writer import write_dicom_results

        if not all(is_file(to.dicom.report) for to in running.paths):
            write_dicom_results(dicom.volume(running.case), sidecars, running.paths)

    def _fail(self, running: RunningCase, error: BaseException) -> None:
        """Record why a case has no result; what stops the run is no failure of the case."""
        if isinstance(error, DeviceLostError) or not isinstance(error, Exception):
            self.fatal = self.fatal or error
            running.result.set_exception(error)
            return
        hides_values = self.job.dicom is not None
        failure = case_failure(error, running.case.path, self.job.out, hides_values=hides_values)
        self._shared.failures.add(SEGMENTATION, running.name, failure)
        running.result.set_exception(failure)

    def _require_own_name(self, running: RunningCase) -> None:
        """Refuse a case whose results would have no name, or that of another; InputError."""
        path = running.case.path
        try:
            str(running.case.relative).encode()
        except UnicodeEncodeError as error:
            advice = "Rename it, or set a UTF-8 locale."
            raise InputError("has a name that is not UTF-8", advice, about=path) from error
        if (mask := running.paths[0].mask) in self._name_clashes:
            problem = f"would be written to {mask.name}, and so would another scan"
            raise InputError(problem, "Rename one of them.", about=path)

    def _existing_results(self, running: RunningCase) -> list[Sidecar] | None:
        """Return the results of an earlier run; None if the case has to be segmented."""
        job = self.job
        if job.overwrite:
            return None
        return find_existing_results(
            running.case,
            running.paths,
            job.region_paths(running.case),
            self.provenance.settings,
            extras=job.extras,
            any_backend=job.any_backend,
            atlas=job.atlas.inputs(running.case) if job.atlas else None,
            manual=describe_manual_masks(running.case, job.manual.of_scan(running.case.relative)),
        )
