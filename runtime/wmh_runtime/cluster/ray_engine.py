"""Segment the cases of a job on a Ray cluster: one worker for each GPU, or for some CPU cores.

Workers come and go with the machines of the cluster. A case whose worker is lost is given to
another one. The results are files, so this program itself may be killed and started again.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cluster.ray_worker import (
    CaseReport,
    Opened,
    RayWorker,
    failure_of_lost_case,
    job_of_worker,
)
from wmh_runtime.cohort.case.worker import LOOK_AGAIN_S, RunningCase
from wmh_runtime.cohort.engine import Event
from wmh_runtime.cohort.job import Job, Outcome, Progress
from wmh_runtime.cohort.local_runner import max_cases
from wmh_runtime.cohort.run import run
from wmh_runtime.cohort.segment_folder import FolderOptions, plan_job
from wmh_runtime.cohort.shared_folder import SharedFolder
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import BackendError, InputError, WmhError
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.files.process import ProcessId
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.outputs.existing_results import require_same_settings
from wmh_runtime.outputs.failures import SEGMENTATION

AUTO = "auto"  # the cluster that this machine is a part of
CORES_OF_WORKER = 4  # unless the threads option says another number
_CHECK_SIGNALS_S = 0.5
_CONNECT_S = 10.0
_LOOK_AT_CLUSTER_S = 5.0  # machines may have come
_MAX_LOST = 3  # workers during one case
_MAX_LOST_BEFORE_A_RESULT = 10  # workers: then nothing works on this cluster


@dataclass(frozen=True)
class RayEngine:
    """A Ray cluster.

    Args:
        address: of the cluster; `auto`: the one that this machine is a part of.
        options: of the inference.
        most_workers: None: as many as the cluster has room for.
        on_opened: called with what the first worker runs on.
        on_warning: called with what is to be known about the cluster.
    """

    address: str
    options: InferenceOptions
    most_workers: int | None = None
    on_opened: Callable[[str], None] = lambda _: None
    on_warning: Callable[[str], None] = lambda _: None

    @contextmanager
    def open(self, job: Job, shared: SharedFolder) -> Iterator[RayRunner]:
        """Connect to the cluster, and begin to start workers.

        Raises:
            InputError: there is no cluster at the address, or the job cannot run on one.
        """
        if job.dicom is not None:
            problem = "is for NIfTI scans, but these are DICOM files"
            advice = "Give each of several runs a shard, or convert the files first."
            raise InputError(problem, advice, about="ray")
        _require_reachable(self.address)
        try:
            with _own_signal_handlers():
                ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            problem = f"no Ray cluster at {self.address} ({' '.join(str(error).split())})"
            raise InputError(problem, "Start one on this machine.", about="ray") from error
        try:
            yield RayRunner(job, shared, self)
        finally:
            ray.shutdown()


def _require_reachable(address: str) -> None:
    """Refuse an address at which nothing answers: Ray itself would wait for minutes."""
    if address == AUTO:
        return  # it is looked for on this machine only
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        problem = f"no Ray cluster at {address} ({reason_of(error)})"
        advice = f"Give {AUTO} or HOST:PORT."
        raise InputError(problem, advice, about="ray") from error


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keep the signal handlers of this program, which Ray would replace by its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass(eq=False)
class _Worker:
    """A worker, from when it is asked for."""

    actor: Any
    opening: Any  # reference to what `open` returns
    is_open: bool = False
    is_alone: bool = False  # its case has ended another worker: no other case is put at risk
    cases: dict[Any, _Task] = field(default_factory=dict)  # by the reference to their report


@dataclass(eq=False)
class _Task:
    """A case, until it is done."""

    case: Case
    lost: int = 0  # workers that ended during it
    not_before: float = 0.0  # by the monotonic clock


def segment_folder_on_ray(
    source: Path | str,
    out: Path | str,
    bundle: Bundle,
    options: InferenceOptions,
    folder_options: FolderOptions,
    progress: Progress,
    *,
    address: str,
    most_workers: int | None = None,
) -> Outcome:
    """Segment a folder of scans on a Ray cluster; see `segment_folder`.

    Args:
        source: as of `segment_folder`; every machine has to see it under the same path.
        out: likewise.
        bundle: likewise.
        options: of the inference. The threads are those of each worker.
        folder_options: which scans, and what to write.
        progress: is called with the progress of the run.
        address: of the cluster; `auto`: the one that this machine is a part of.
        most_workers: None: as many as the cluster has room for.

    Raises:
        InputError: as of `segment_folder`; or there is no cluster.
        BackendError: no worker can run the bundle.
        InterruptionError: the user asked to stop.
    """
    if options.gpus:
        problem = "cannot be chosen on a cluster, which gives each worker one"
        raise InputError(problem, "Leave it out.", about="gpus")
    job = plan_job(source, out, bundle, options, folder_options)
    progress.discovered(job)
    engine = RayEngine(address, options, most_workers, progress.begun, progress.warned)
    return run(job, engine, progress)


class RayRunner:
    """Segments the cases of a job on a Ray cluster."""

    def __init__(self, job: Job, shared: SharedFolder, engine: RayEngine) -> None:
        self.fatal: BaseException | None = None
        self._job = job
        self._shared = shared
        self._engine = engine
        threads = engine.options.threads or CORES_OF_WORKER
        gpus = 1 if ray.cluster_resources().get("GPU", 0) >= 1 else 0
        self._needs = {"CPU": float(threads), "GPU": float(gpus)}
        self._cases_at_a_time = max_cases(1, threads)  # of a worker
        self._job_of_worker = ray.put(job_of_worker(job))
        self._name_clashes = job.name_clashes
        self._workers: list[_Worker] = []
        self._again: deque[_Task] = deque()  # cases to give to a worker again
        self._elsewhere: list[_Task] = []
        self._lost_before_a_result = 0
        self._refused = 0  # workers that could not open the model
        self._look_at = 0.0

    @property
    def unfinished(self) -> Sequence[RunningCase]:
        """The cases that are being processed."""
        tasks = (task for worker in self._workers for task in worker.cases.values())
        return [self._running(task.case) for task in tasks]

    @property
    def elsewhere(self) -> Sequence[Case]:
        """The cases that other runs have."""
        return [task.case for task in self._elsewhere]

    def owner(self, case: Case) -> ProcessId | None:
        """Return the process of another run that has a case, as far as it is known."""
        return self._shared.claims.owner(case.relative.as_posix())

    def advance(self, should_stop: Callable[[], bool]) -> Iterator[tuple[RunningCase, Event]]:
        """Yield each case once when it is done; see `Runner.advance` in engine.py."""
        following = iter(self._job.cases)
        upcoming = next(following, None)
        while True:
            is_stopped = self.fatal is not None or should_stop()
            if is_stopped:
                upcoming = None
                self._again.clear()
                self._elsewhere.clear()
            left = upcoming is not None or self._again or self._elsewhere
            if not left and not any(worker.cases for worker in self._workers):
                return
            if left:
                self._ask_for_workers()
            while (worker := self._free_worker()) is not None:
                task = self._due_again(worker)
                if task is None and upcoming is not None and not worker.is_alone:
                    task, upcoming = _Task(upcoming), next(following, None)
                if task is None:
                    break
                worker.cases[worker.actor.segment.remote(task.case)] = task
            done = list(self._wait())
            yield from done
            if not done and self._elsewhere and not any(one.cases for one in self._workers):
                yield self._running(self._elsewhere[0].case), "elsewhere"

    def _ask_for_workers(self) -> None:
        """Ask for as many workers as the cluster has room for; machines may have come or gone."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_AT_CLUSTER_S
        wanted = self._engine.most_workers
        if wanted is None:
            resources = ray.cluster_resources()
            wanted = min(
                int(resources.get(name, 0) // count) for name, count in self._needs.items() if count
            )
            wanted = max(wanted, 1)  # it waits for a machine, and asks the cluster for one
        wanted = min(wanted - self._refused, len(self._job.cases))
        remote = ray.remote(RayWorker).options(
            num_cpus=self._needs["CPU"],
            num_gpus=self._needs["GPU"],
            max_concurrency=self._cases_at_a_time,
            max_restarts=0,
        )
        options = replace(self._engine.options, threads=int(self._needs["CPU"]))
        while len(self._workers) < wanted:
            actor = remote.remote(self._job_of_worker, options, self._name_clashes, Path.cwd())
            self._workers.append(_Worker(actor, actor.open.remote()))

    def _free_worker(self) -> _Worker | None:
        """Return the open worker with the fewest cases, if it can take one more."""
        ready = [one for one in self._workers if one.is_open and not one.is_alone]
        worker = min(ready, key=lambda one: len(one.cases), default=None)
        most = self._cases_at_a_time + 1  # one more waits there, so that the worker never does
        return worker if worker and len(worker.cases) < most else None

    def _due_again(self, worker: _Worker) -> _Task | None:
        """Return a case that has to be looked at again, if there is one and it is time to."""
        if self._again and not worker.cases:
            worker.is_alone = True
            return self._again.popleft()
        due = [task for task in self._elsewhere if task.not_before <= time.monotonic()]
        if not due:
            return None
        self._elsewhere.remove(due[0])
        return due[0]

    def _wait(self) -> Iterator[tuple[RunningCase, Event]]:
        """Wait a moment for workers; yield the cases that are done."""
        owners = {ref: worker for worker in self._workers for ref in worker.cases}
        owners |= {worker.opening: worker for worker in self._workers if not worker.is_open}
        if not owners:
            time.sleep(_CHECK_SIGNALS_S)
            return
        refs = list(owners)
        ready, _ = ray.wait(refs, num_returns=1, timeout=_CHECK_SIGNALS_S)
        more, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        for ref in dict.fromkeys([*ready, *more]):
            worker = owners[ref]
            if worker not in self._workers:
                continue  # it was lost
            try:
                answer = ray.get(ref)
            except RayActorError as error:
                yield from self._lose(worker, error)
            except RayError as error:
                self.fatal = self.fatal or BackendError(f"Ray failed: {error}")
                return
            else:
                yield from self._take(worker, ref, answer)

    def _take(
        self, worker: _Worker, ref: object, answer: Opened | WmhError | CaseReport
    ) -> Iterator[tuple[RunningCase, Event]]:
        if isinstance(answer, Opened):
            self._open(worker, answer)
            return
        if isinstance(answer, WmhError):
            self._refuse(worker, answer)
            return
        if answer.fatal is not None:
            ray.kill(worker.actor)
            yield from self._lose(worker, answer.fatal)
            return
        task = worker.cases.pop(ref)
        worker.is_alone = False
        if answer.is_elsewhere:
            task.not_before = time.monotonic() + LOOK_AGAIN_S
            self._elsewhere.append(task)
            return
        self._lost_before_a_result = 0
        running = self._running(task.case)
        running.is_kept = answer.is_kept
        if answer.failure is not None:
            running.result.set_exception(answer.failure)
        else:
            running.result.set_result(list(answer.sidecars))
        yield running, "done"

    def _open(self, worker: _Worker, opened: Opened) -> None:
        """Note that a worker is open; the first one says what all results are made with."""
        if not any(one.is_open for one in self._workers):
            self._engine.on_opened(opened.description)
        if not self._job.overwrite:
            job = self._job
            try:
                require_same_settings(
                    job.out, map(job.paths, job.cases), opened.settings, any_backend=job.any_backend
                )
            except InputError as error:
                self.fatal = self.fatal or error
        worker.is_open = True

    def _refuse(self, worker: _Worker, why: WmhError) -> None:
        """Do without a worker that cannot open the model; if it is the first one, none can."""
        if any(one.is_open for one in self._workers):
            self._workers.remove(worker)
            self._refused += 1
            self._engine.on_warning(f"a machine of the cluster is not used: {why}")
        else:
            self.fatal = self.fatal or why

    def _lose(self, worker: _Worker, why: Exception) -> Iterator[tuple[RunningCase, Event]]:
        """Give the cases of a worker that ended to others; a case that ends them all has failed."""
        self._workers.remove(worker)
        self._look_at = 0.0
        self._lost_before_a_result += 1
        if self._lost_before_a_result >= _MAX_LOST_BEFORE_A_RESULT:
            count = self._lost_before_a_result
            problem = f"{count} workers ended one after the other: {' '.join(str(why).split())}"
            self.fatal = self.fatal or BackendError(problem, "Look at the logs of the cluster.")
        for task in worker.cases.values():
            task.lost += 1
            if task.lost < _MAX_LOST:
                self._again.append(task)
                continue
            failure = failure_of_lost_case(task.case, self._job.out, task.lost)
            self._shared.failures.add(SEGMENTATION, task.case.relative.as_posix(), failure)
            running = self._running(task.case)
            running.result.set_exception(failure)
            yield running, "done"

    def _running(self, case: Case) -> RunningCase:
        return RunningCase(case, self._job.paths(case))
