"""Give cases to the workers of a Ray cluster, and take their reports."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import ray
from ray.exceptions import RayActorError, RayError

from wmh_runtime.cluster.ray_pool import Task, Worker, WorkerPool
from wmh_runtime.cluster.ray_worker import CaseReport, Opened, failure_of_lost_case
from wmh_runtime.cohort.case.worker import LOOK_AGAIN_S, RunningCase
from wmh_runtime.cohort.engine import Event
from wmh_runtime.cohort.job import Job
from wmh_runtime.cohort.sharing.shared_folder import SharedFolder
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import InputError, WmhError
from wmh_runtime.files.process import ProcessId
from wmh_runtime.outputs.existing_results import require_same_settings
from wmh_runtime.outputs.failures import SEGMENTATION

_CHECK_SIGNALS_S = 0.5
_MAX_LOST = 3  # workers during one case


class RayRunner:
    """Segments the cases of a job on a Ray cluster. A case whose worker ends is given to another.

    Args:
        job: what to do.
        shared: claims and failures of the output folder.
        pool: of the workers.
        on_opened: called with what the first worker runs on.
    """

    def __init__(
        self, job: Job, shared: SharedFolder, pool: WorkerPool, on_opened: Callable[[str], None]
    ) -> None:
        self.fatal: BaseException | None = None
        self._job = job
        self._shared = shared
        self._pool = pool
        self._on_opened = on_opened
        self._has_opened = False
        self._again: deque[Task] = deque()  # cases that ended a worker: each runs alone
        self._elsewhere: list[Task] = []

    @property
    def unfinished(self) -> Sequence[RunningCase]:
        """The cases that are being processed."""
        tasks = (task for worker in self._pool.workers for task in worker.tasks.values())
        return [self._running(task.case) for task in tasks]

    @property
    def elsewhere(self) -> Sequence[Case]:
        """The cases that other runs have."""
        return [task.case for task in self._elsewhere]

    def owner(self, case: Case) -> ProcessId | None:
        """Return the process of another run that has a case, as far as it is known."""
        return self._shared.claims.owner(self._job.claim_of(case))

    def advance(self, should_stop: Callable[[], bool]) -> Iterator[tuple[RunningCase, Event]]:
        """Yield each case once when it is done; see `Runner.advance` in engine.py."""
        cases = iter(self._job.cases)
        upcoming = next(cases, None)
        while True:
            if self.fatal is not None or should_stop():
                upcoming = None
                self._again.clear()
                self._elsewhere.clear()
            left = upcoming is not None or self._again or self._elsewhere
            if not left and not any(worker.tasks for worker in self._pool.workers):
                return
            if left and (why := self._pool.refresh()):
                self.fatal = self.fatal or why
            while upcoming is not None and (worker := self._pool.free_worker()):
                self._give(worker, Task(upcoming))
                upcoming = next(cases, None)
            if upcoming is None:
                self._give_again()
            done = list(self._wait())
            yield from done
            if not done and self._elsewhere and not self.unfinished:
                yield self._running(self._elsewhere[0].case), "elsewhere"

    def _give_again(self) -> None:
        """Give out cases that ended a worker, each alone, and cases that other runs had."""
        due = [task for task in self._elsewhere if task.not_before <= time.monotonic()]
        for task in [*self._again, *due]:
            worker = self._pool.free_worker(is_empty=task.lost > 0)
            if worker is None:
                continue
            (self._again if task in self._again else self._elsewhere).remove(task)
            worker.is_alone = task.lost > 0
            self._give(worker, task)

    def _give(self, worker: Worker, task: Task) -> None:
        worker.tasks[worker.actor.segment.remote(task.case)] = task

    def _wait(self) -> Iterator[tuple[RunningCase, Event]]:
        """Wait a moment for workers; yield the cases that are done."""
        workers = {ref: worker for worker in self._pool.workers for ref in worker.tasks}
        workers |= {worker.opening: worker for worker in self._pool.workers if not worker.is_open}
        if not workers:
            time.sleep(_CHECK_SIGNALS_S)
            return
        refs = list(workers)
        first, _ = ray.wait(refs, num_returns=1, timeout=_CHECK_SIGNALS_S)
        more, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        for ref in dict.fromkeys([*first, *more]):
            worker = workers[ref]
            if worker not in self._pool.workers:
                continue  # it was lost with the report before
            try:
                answer = ray.get(ref)
            except RayError as error:  # its process or machine is gone, or out of memory
                if not isinstance(error, RayActorError):
                    ray.kill(worker.actor)
                yield from self._lose(worker, error)
            else:
                yield from self._take(worker, ref, answer)

    def _take(
        self, worker: Worker, ref: object, answer: Opened | Exception | CaseReport
    ) -> Iterator[tuple[RunningCase, Event]]:
        if isinstance(answer, Opened):
            self._open(worker, answer)
            return
        if isinstance(answer, Exception):
            self._pool.refuse(worker, answer)
            return
        if answer.fatal is not None:
            ray.kill(worker.actor)
            yield from self._lose(worker, answer.fatal)
            return
        task = worker.tasks.pop(ref)
        worker.is_alone = False
        if answer.is_elsewhere:
            task.not_before = time.monotonic() + LOOK_AGAIN_S
            self._elsewhere.append(task)
            return
        running = self._running(task.case)
        running.is_kept = answer.is_kept
        if answer.failure is not None:
            running.result.set_exception(answer.failure)
        else:
            running.result.set_result(list(answer.sidecars))
        yield running, "done"

    def _open(self, worker: Worker, opened: Opened) -> None:
        """Note that a worker is open; the first one says what all results are made with."""
        worker.is_open = True
        if self._has_opened:
            return
        self._has_opened = True
        self._on_opened(opened.description)
        job = self._job
        try:
            if not job.overwrite:
                require_same_settings(
                    *(job.out, map(job.paths, job.cases), opened.settings, self._shared.existing),
                    any_backend=job.any_backend,
                )
        except InputError as error:
            self.fatal = self.fatal or error

    def _lose(self, worker: Worker, why: Exception) -> Iterator[tuple[RunningCase, Event]]:
        """Give the cases of a worker that ended to others; one that ends them all has failed."""
        is_there = self._pool.lose(worker, why)
        for task in worker.tasks.values():
            task.lost += is_there  # a machine that is gone is no fault of the case
            if task.lost < _MAX_LOST:
                self._again.append(task)
                continue
            failure: WmhError = failure_of_lost_case(task.case, self._job.out, task.lost)
            self._shared.failures.add(SEGMENTATION, task.case.relative.as_posix(), failure)
            running = self._running(task.case)
            running.result.set_exception(failure)
            yield running, "done"

    def _running(self, case: Case) -> RunningCase:
        return RunningCase(case, self._job.paths(case))
