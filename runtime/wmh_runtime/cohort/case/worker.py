"""Take a case up, claim it, and find or make its results. Whatever happens, it is one case's."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wmh_runtime.claims.claims import Claim
from wmh_runtime.cohort.case.corrected_masks import describe_manual_masks
from wmh_runtime.cohort.case.memory import MemoryBudget, estimate_scan_bytes
from wmh_runtime.cohort.case.processor import CaseProcessor
from wmh_runtime.cohort.job import Job
from wmh_runtime.cohort.sharing.shared_folder import SharedFolder
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import DeviceLostError, InputError
from wmh_runtime.files.case_failure import case_failure
from wmh_runtime.files.reading import is_file
from wmh_runtime.imageio.nifti_reader import read_grid
from wmh_runtime.outputs.existing_results import (
    find_finished_results,
    require_replaceable_results,
)
from wmh_runtime.outputs.failures import FAILURES_FOLDER, SEGMENTATION
from wmh_runtime.outputs.paths import OutputPaths
from wmh_runtime.outputs.settings import Provenance
from wmh_runtime.outputs.sidecar import ManualMask, Sidecar
from wmh_runtime.report.viewer import write_viewers

if TYPE_CHECKING:  # needs optional libraries
    from wmh_runtime.dicom.scans import DicomScans

LOOK_AGAIN_S = 1.0  # at a case that another run has


class _ClaimLostError(Exception):
    """This run stood still for so long that another one took the case."""


@dataclass(eq=False)
class RunningCase:
    """A case, from when its header is read until it is reported."""

    case: Case
    paths: Sequence[OutputPaths]  # of the results, for each output
    needed_bytes: int = 0  # of memory
    unreadable: Exception | None = None  # why its header cannot be read
    refusal: InputError | None = None  # why it cannot be segmented, unless it is finished already
    share: float = 0.0  # of the network's work that is done, 0 to 1
    is_of_stored_scan: bool = False  # its results are of the objects that are stored now
    is_kept: bool = False  # it was finished by another run
    is_elsewhere: bool = False  # another run works on it
    look_again_at: float = 0.0  # when to try again to claim it, by the monotonic clock
    result: Future[list[Sidecar]] = field(default_factory=Future)

    @property
    def name(self) -> str:
        """What failures are recorded of: the path of the scan."""
        return self.case.relative.as_posix()


class CaseWorker:
    """Finds or makes the results of cases. Several threads may call it at a time.

    Args:
        job: what to do.
        shared: claims and failures of the output folder.
        processor: segments a case.
        provenance: for the sidecars.
        memory: that cases may take.
        name_clashes: masks that would be those of several cases, see `Job.name_clashes`.
    """

    def __init__(
        self,
        job: Job,
        shared: SharedFolder,
        processor: CaseProcessor,
        provenance: Provenance,
        memory: MemoryBudget,
        name_clashes: Collection[Path],
    ) -> None:
        self.fatal: BaseException | None = None  # what stops the run, such as a lost device
        self._job = job
        self._shared = shared
        self._processor = processor
        self._provenance = provenance
        self._memory = memory
        self._name_clashes = name_clashes

    def take_up(self, case: Case) -> RunningCase:
        """Read from the header of a scan how much memory it needs.

        A scan in object storage is copied to this machine, unless its results are there.
        """
        running = RunningCase(case, self._job.paths(case))
        try:
            running.case = self._job.with_files(case)
            if self._has_results_of_stored_scan(running):
                return running
            self._job.stored.fetch_images(self._images(running.case), running.name)
            case = running.case
            shape, affine = read_grid(case.path)
            further = [read_grid(path)[0] for path in case.others.values()]
            registered, others = (further, []) if self._job.register else ([], further)
            if self._job.atlas is not None:
                others.append(read_grid(self._job.atlas.image_of(case))[0])
            manifest, region_bundle = self._job.bundle.manifest, self._job.regions_bundle
            of_regions = region_bundle.manifest if region_bundle else None
            needed_bytes = estimate_scan_bytes(
                shape,
                affine,
                manifest.network_shape,
                images=len(manifest.channels),
                outputs=len(manifest.outputs),
                planes=manifest.preprocessing.planes,
                other_shapes=others,
                registered_shapes=registered,
                region_network=of_regions.network_shape if of_regions else None,
                region_planes=of_regions.preprocessing.planes if of_regions else ("axial",),
            )
            running.refusal = self._memory.refusal(needed_bytes)
            running.needed_bytes = 0 if running.refusal else needed_bytes
        except Exception as error:  # reported once the case is claimed, unless it is finished
            running.unreadable = error
        return running

    def work_on(self, running: RunningCase, on_change: Callable[[], None] = lambda: None) -> None:
        """Find or make the results of a case, unless another run is at it.

        Nothing of the results is looked at before the case is claimed. So no file system remembers
        that they were missing then.

        Args:
            running: from `take_up`; it gets the result.
            on_change: called when it made progress, and in the end.
        """
        claim = None
        try:
            self._require_own_name(running)
            claim = self._shared.claims.try_claim(self._job.claim_of(running.case))
            if claim is None:
                self._leave(running)
            elif failure := self._shared.failures.of_other_run(SEGMENTATION, running.name):
                running.result.set_exception(failure)
            else:
                sidecars = self._find_or_make_results(running, claim, on_change)
                self._shared.failures.remove(SEGMENTATION, running.name)
                running.result.set_result(sidecars)
        except _ClaimLostError:
            self._leave(running)
        except BaseException as error:
            if isinstance(error, Exception) and claim is not None and not claim.is_held:
                self._leave(running)  # perhaps it failed because another run took it
            else:
                self._fail(running, error)
        finally:
            self._free(running)
            if claim is not None:
                self._shared.claims.release(claim)
            on_change()

    def _find_or_make_results(
        self, running: RunningCase, claim: Claim, on_change: Callable[[], None]
    ) -> list[Sidecar]:
        """Return the results of a case that is claimed; make what is missing."""
        folders = (running.paths[0].mask.parent, self._job.out / FAILURES_FOLDER)
        self._shared.claims.clear_after(claim, *folders)

        def on_progress(share: float) -> None:
            running.share = share
            on_change()

        def require_claim() -> None:
            if not claim.is_held:
                raise _ClaimLostError

        job, case = self._job, running.case
        files, sidecar_files = job.result_files(case), [to.sidecar for to in running.paths]
        failure = self._shared.failures.path_of(SEGMENTATION, running.name)
        job.stored.recall_results([*files, *sidecar_files], failure)
        running.is_of_stored_scan = job.stored.are_of_same_scan(case, running.paths)
        is_new = not any(sidecar in self._shared.existing for sidecar in sidecar_files)
        is_finished = is_new and all(map(is_file, sidecar_files))
        if running.unreadable is not None and not is_finished:
            raise running.unreadable
        replaces = job.overwrite and not is_finished
        sidecars = None if replaces else self._finished_results(running, is_new=is_new)
        running.is_kept = sidecars is not None
        is_complete = running.is_kept and not self._lacks_viewer(running)
        if not is_complete:
            job.stored.fetch_images(self._images(case), running.name)
            job.stored.fetch_results(files, running.name)
        if sidecars is None:
            if refusal := running.unreadable or running.refusal:
                raise refusal
            if not replaces:
                self._require_replaceable(running)
            sidecars = self._processor.process(case, running.paths, on_progress, require_claim)
        if job.dicom is not None and job.extras.dicom:
            self._write_dicom(running, sidecars, job.dicom)
        if job.extras.viewer:
            write_viewers(case, running.paths, is_new=not running.is_kept)
        if not is_complete:
            job.stored.store_results(files, sidecar_files, require_claim)
        return sidecars

    def _free(self, running: RunningCase) -> None:
        """Remove copies of a case from object storage, unless it is looked at again."""
        job, case = self._job, running.case
        files = job.result_files(case)
        if running.is_elsewhere or running.result.exception() is not None:
            job.stored.discard_results([*files, *(to.sidecar for to in running.paths)])
        if not running.is_elsewhere:
            job.stored.release(self._images(case), files, running.name)

    def _leave(self, running: RunningCase) -> None:
        """Leave a case to the run that has it."""
        running.is_elsewhere = True
        running.look_again_at = time.monotonic() + LOOK_AGAIN_S
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
        hides_values = self._job.dicom is not None
        failure = case_failure(error, running.case.path, self._job.out, hides_values=hides_values)
        failure = self._job.stored.error_with_addresses(failure)
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

    def _finished_results(self, running: RunningCase, *, is_new: bool) -> list[Sidecar] | None:
        """Return the results of another run; None if the case has to be segmented.

        Args:
            running: the case.
            is_new: there was no result when this run began: another one has just made them.
        """
        job = self._job
        return find_finished_results(
            running.case,
            running.paths,
            job.region_paths(running.case),
            self._provenance.settings,
            extras=job.extras,
            any_backend=job.any_backend,
            atlas=job.atlas.inputs(running.case) if job.atlas else None,
            manual=self._manual_masks(running.case),
            is_of_same_input=is_new or running.is_of_stored_scan,
            reads_images=job.stored.results is None,
        )

    def _require_replaceable(self, running: RunningCase) -> None:
        job, case = self._job, running.case
        require_replaceable_results(
            case,
            running.paths,
            job.region_paths(case),
            extras=job.extras,
            has_atlas=job.atlas is not None,
            manual=self._manual_masks(case),
        )

    def _has_results_of_stored_scan(self, running: RunningCase) -> bool:
        """Return whether a scan in object storage has its results, so that it need not be copied.

        The case gets the versions of its images.
        """
        job = self._job
        if job.stored.scans is None:
            return False
        running.case = job.stored.with_versions(running.case)
        running.is_of_stored_scan = job.stored.are_of_same_scan(running.case, running.paths)
        if not running.is_of_stored_scan or job.overwrite or self._lacks_viewer(running):
            return False
        corrected = job.manual.of_scan(running.case.relative).values()
        job.stored.fetch_images(corrected, running.name)
        return self._finished_results(running, is_new=False) is not None

    def _lacks_viewer(self, running: RunningCase) -> bool:
        """Return whether a page is wanted and not there."""
        return self._job.extras.viewer and not all(is_file(to.viewer) for to in running.paths)

    def _images(self, case: Case) -> list[Path]:
        """Return the images that a case is segmented from, and its corrected masks."""
        return [case.path, *case.others.values(), *self._job.manual.of_scan(case.relative).values()]

    def _manual_masks(self, case: Case) -> dict[str, ManualMask]:
        return describe_manual_masks(case, self._job.manual.of_scan(case.relative))
