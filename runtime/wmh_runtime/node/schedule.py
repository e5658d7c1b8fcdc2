"""Which study of the queue is to be segmented next, and which are done."""

from __future__ import annotations

import time
from collections.abc import Iterable

from wmh_runtime.node.config import Study
from wmh_runtime.node.queue import Queue
from wmh_runtime.node.study import QueuedStudy

_CUT_OFF_FACTOR = 10.0  # of the quiet time
_LONGEST_WAIT_S = 3600.0  # between attempts, also if the clock was changed
_SETTLED_S = 2.0  # times of folders are not exact


class Schedule:
    """Decides from the files of the queue, and from who has ended an association.

    Times of files only tell whether an image came. How long ago that was is measured by a clock
    that nobody can change, from when this process has seen it: while the node was off, nothing
    could come.

    Args:
        config: when a study is complete.
        queue: with the studies.
    """

    def __init__(self, config: Study, queue: Queue) -> None:
        self._config = config
        self._queue = queue
        self._seen: dict[str, tuple[float, float]] = {}  # study → time of its folder, and of now
        self._released: dict[str, float] = {}  # study → time of its folder when it was complete
        self._done: dict[str, float] = {}  # study → time of its folder when it was done

    def release(self, studies: Iterable[QueuedStudy]) -> None:
        """Note that the senders of studies have ended their associations."""
        if self._config.complete_on_release:
            for study in studies:
                self._released[study.code] = study.last_received_s

    def next_due(self) -> QueuedStudy | None:
        """Return the study to segment next: the one that waits longest; None: there is none.

        Those during which the process ended before come last.
        """
        due = [study for study in self._queue.studies() if self._is_due(study)]
        return min(due, key=lambda one: one.record.unfinished, default=None)

    @property
    def waiting(self) -> int:
        """How many studies are not done yet."""
        return sum(not self._is_done(study) for study in self._queue.studies())

    @property
    def longest_wait_s(self) -> float:
        """How long the study waits that waits longest, since its last image."""
        waiting = [study for study in self._queue.studies() if not self._is_done(study)]
        return max(map(self.quiet_s, waiting), default=0.0)

    def quiet_s(self, study: QueuedStudy) -> float:
        """Return how long no image of a study came."""
        received_s, now = study.last_received_s, time.monotonic()
        if self._seen.get(study.code, (0.0, now))[0] != received_s:
            self._seen[study.code] = received_s, now
        return now - self._seen[study.code][1]

    def _is_done(self, study: QueuedStudy) -> bool:
        received_s = study.last_received_s
        is_known = self._done.get(study.code) == received_s and study.record_path.exists()
        if received_s == 0 or is_known:
            return True
        record = study.record
        is_done = bool(record.outcome) and record.images == study.images_digest
        if is_done and self.quiet_s(study) > _SETTLED_S:
            self._done[study.code] = received_s
        return is_done

    def _is_due(self, study: QueuedStudy) -> bool:
        is_cut_off = study.is_unreleased  # its sender will send again
        quiet_s = longest_quiet_s(self._config) if is_cut_off else self._config.quiet_s
        is_released = self._released.get(study.code) == study.last_received_s and not is_cut_off
        is_complete = self.quiet_s(study) >= quiet_s or is_released
        if not is_complete or self._is_done(study):
            return False
        record = study.record
        wait_s = min(record.not_before - time.time(), _LONGEST_WAIT_S)
        return wait_s <= 0 or record.attempted != study.images_digest


def longest_quiet_s(config: Study) -> float:
    """Return how long a study waits at most until it is complete."""
    return config.quiet_s * _CUT_OFF_FACTOR
