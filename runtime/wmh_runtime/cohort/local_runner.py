"""Segment the cases of a job with threads of this process, and report them in order.

Cases that another run has are left to it, and looked at again when there is nothing else to do.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future

from wmh_runtime.claims.claims import Claims
from wmh_runtime.cohort.case.memory import MemoryBudget
from wmh_runtime.cohort.case.worker import CaseWorker, RunningCase
from wmh_runtime.cohort.engine import Event
from wmh_runtime.dataset.case import Case
from wmh_runtime.files.process import ProcessId
from wmh_runtime.machine import available_cores

_CHECK_SIGNALS_S = 0.5  # Windows does not interrupt a wait
_LOOK_EVERY_S = 0.02  # at a case of another run; many runs together must not flood a file server
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


class LocalRunner:
    """Segments the cases of a job with threads of this process.

    Args:
        taken_up: cases to segment, from `CaseWorker.take_up`, each when it is needed.
        worker: finds or makes the results of a case.
        memory: that cases may take.
        claims: of this run.
        claim_of: names the claim of a case.
        pool: threads that process one case each.
        most: cases that are processed at a time, see `max_cases`.
    """

    def __init__(
        self,
        taken_up: Iterator[RunningCase],
        worker: CaseWorker,
        memory: MemoryBudget,
        claims: Claims,
        claim_of: Callable[[Case], str],
        pool: Executor,
        most: int,
    ) -> None:
        self._taken_up = taken_up
        self._worker = worker
        self._memory = memory
        self._claims = claims
        self._claim_of = claim_of
        self._pool = pool
        self._most = most
        self._running: deque[RunningCase] = deque()  # in the order of the cases
        self._elsewhere: deque[RunningCase] = deque()  # in the order in which to look at them
        self._look_again_at = 0.0  # at cases that other runs have, by the monotonic clock
        self._changed = threading.Event()  # a case made progress

    def advance(self, should_stop: Callable[[], bool]) -> Iterator[tuple[RunningCase, Event]]:
        """Yield each case once when it is done, in order; and the first one when it made progress.

        See `Runner.advance` in engine.py.
        """
        following, reported_share = next(self._taken_up, None), 0.0
        while self._running or following or self._elsewhere:
            self._changed.clear()
            if self._worker.fatal is not None or should_stop():
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
                    self._pool.submit(self._worker.work_on, following, self._changed.set)
                following = next(self._taken_up, None)
            elif first and first.share > reported_share:
                reported_share = first.share
                yield first, "progress"
            elif again := None if following else self._due_again():
                following = again
            else:
                if self._elsewhere and not first:
                    yield self._elsewhere[0], "elsewhere"
                waits_for_others = self._elsewhere and not (first or following)
                self._changed.wait(_LOOK_EVERY_S if waits_for_others else _CHECK_SIGNALS_S)

    @property
    def fatal(self) -> BaseException | None:
        """What stops the run, such as a lost device."""
        return self._worker.fatal

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
        return self._claims.owner(self._claim_of(case))

    def _due_again(self) -> RunningCase | None:
        """Return a case of another run that it is time to look at again."""
        now = time.monotonic()
        if not self._elsewhere or now < max(self._look_again_at, self._elsewhere[0].look_again_at):
            return None
        self._look_again_at = now + _LOOK_EVERY_S
        running = self._elsewhere.popleft()
        running.is_elsewhere, running.result = False, Future()
        return running

    def _has_room_for(self, following: RunningCase) -> bool:
        unfinished = self.unfinished
        if following.result.done() or not unfinished:
            return True  # it has failed already, or has all memory for itself
        taken_bytes = sum(running.needed_bytes for running in unfinished)
        return len(unfinished) < self._most and self._memory.has_room(
            following.needed_bytes, taken_bytes
        )
