"""A worker: a process of a Ray cluster that holds the open model, and segments cases.

It claims cases, writes results and records failures as every run does. What it returns is small.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from wmh_runtime.cohort.case.memory import MemoryBudget, memory_for_scans
from wmh_runtime.cohort.case.processor import CaseProcessor
from wmh_runtime.cohort.case.worker import CaseWorker, RunningCase
from wmh_runtime.cohort.job import Job
from wmh_runtime.cohort.local_engine import provenance_of
from wmh_runtime.cohort.segment_folder import open_regions
from wmh_runtime.cohort.sharing.shared_folder import share_folder
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import Discovery
from wmh_runtime.errors import BackendError, InputError, WmhError
from wmh_runtime.files.case_failure import case_failure
from wmh_runtime.inference.backend_selection import open_backends
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.inference.trace import ignore_span
from wmh_runtime.outputs.settings import Settings
from wmh_runtime.outputs.sidecar import Sidecar


@dataclass(frozen=True)
class Opened:
    """What a worker runs on."""

    description: str
    settings: Sequence[Settings]  # for each output


@dataclass(frozen=True)
class CaseReport:
    """What became of a case."""

    sidecars: Sequence[Sidecar] = ()  # without their lists of lesions and regions
    is_kept: bool = False
    is_elsewhere: bool = False
    failure: WmhError | None = None  # of the case; it is recorded
    fatal: Exception | None = None  # of the worker, such as a lost device


class RayWorker:
    """Holds the open model. Several threads call `segment` at a time.

    Args:
        job: without its cases.
        options: of the inference.
        name_clashes: see `Job.name_clashes`.
        folder: that relative paths begin at.
        token: a file in the output folder, which is seen if this is the same folder.
        neighbors: workers that share the memory of its machine, with this one.
    """

    def __init__(
        self,
        job: Job,
        options: InferenceOptions,
        name_clashes: Collection[Path],
        folder: Path,
        token: Path,
        neighbors: int,
    ) -> None:
        self._job = job
        self._options = options
        self._name_clashes = name_clashes
        self._folder = folder
        self._token = token
        self._stack = ExitStack()  # closed with the process
        self._memory = MemoryBudget(lambda: memory_for_scans() // neighbors)
        self._taken_bytes = 0
        self._released = threading.Condition()

    def open(self) -> Opened | Exception:
        """Open the model; return what it runs on, or why it cannot be opened."""
        try:
            return self._open()
        except Exception as error:
            return error if isinstance(error, WmhError) else BackendError(repr(error))

    def _open(self) -> Opened:
        job, options = self._job, self._options
        with suppress(OSError):  # absolute paths work all the same
            os.chdir(self._folder)
        for path, folder in ((job.found.root, job.found.root), (self._token, job.out)):
            if not path.exists():
                problem = f"is not there, or is another folder, on {socket.gethostname()}"
                raise InputError(problem, "All machines need the same paths.", about=folder)
        enter = self._stack.enter_context
        enter(threadpool_limits(1, user_api="blas"))
        regions = enter(open_regions(job.regions_bundle, options))
        opened = enter(open_backends(job.bundle, options.backend, options.backend_options))
        segmenter = enter(Segmenter(job.model, opened.backends))
        shared = enter(share_folder(job))
        provenance = provenance_of(job, opened.backends[0])
        processor = CaseProcessor(job, segmenter, provenance, ignore_span, regions)
        self._worker = CaseWorker(
            job, shared, processor, provenance, self._memory, self._name_clashes
        )
        return Opened(str(opened), provenance.settings)

    def segment(self, case: Case) -> CaseReport:
        """Find or make the results of a case."""
        running = self._worker.take_up(case)
        if not running.result.done():
            self._take(running.needed_bytes)
            try:
                self._worker.work_on(running)
            finally:
                self._give_back(running.needed_bytes)
        return self._report(running)

    def _report(self, running: RunningCase) -> CaseReport:
        error = running.result.exception()
        if isinstance(error, WmhError) and self._worker.fatal is None:
            return CaseReport(failure=error)
        if error is not None:
            fatal = self._worker.fatal or error
            if not isinstance(fatal, Exception):
                fatal = RuntimeError(repr(fatal))
            return CaseReport(fatal=fatal)
        small = [
            sidecar.model_copy(update={"lesions": [], "regions": []})
            for sidecar in running.result.result()
        ]
        return CaseReport(small, running.is_kept, running.is_elsewhere)

    def _take(self, needed_bytes: int) -> None:
        """Wait until a case fits into memory besides the others; one always fits."""
        with self._released:
            while self._taken_bytes and not self._memory.has_room(needed_bytes, self._taken_bytes):
                self._released.wait()
            self._taken_bytes += max(needed_bytes, 1)

    def _give_back(self, needed_bytes: int) -> None:
        with self._released:
            self._taken_bytes -= max(needed_bytes, 1)
            self._released.notify_all()


def job_of_worker(job: Job) -> Job:
    """Return a job without its scans, to be sent to a worker, which gets one scan at a time."""
    return replace(job, found=Discovery((), root=job.found.root), shard=None)


def failure_of_lost_case(case: Case, out: Path, attempts: int) -> WmhError:
    """Return the failure of a case during which workers ended again and again."""
    problem = f"ended the process that segmented it {attempts} times"
    return case_failure(InputError(problem, "Segment it alone to see why."), case.path, out)
