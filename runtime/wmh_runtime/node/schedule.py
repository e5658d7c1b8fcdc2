"""Which study of the queue is to be segmented next, and which are done."""

from __future__ import annotations

import time
from collections.abc import Iterable

from wmh_runtime.node.config import Study
from wmh_runtime.node.queue import Queue, QueuedStudy

_CUT_OFF_FACTOR = 10.0  # of the quiet time
_SETTLED_S = 2.0  # times of folders are not exact


class Schedule:
    """Decides from the files of the queue, and from who has ended an association.

    Args:
        config: when a study is complete.
        queue: with the studies.
    """

    def __init__(self, config: Study, queue: Queue) -> None:
        self._config = config
        self._queue = queue
        self._since = time.time()
        self._released: set[str] = set()  # studies that are complete, as their senders are done
        self._settled: dict[str, float] = {}  # study → time of its last image, once it is done

    def release(self, studies: Iterable[QueuedStudy]) -> None:
        """Note that the senders of studies have ended their associations."""
        if self._config.complete_on_release:
            self._released.update(study.code for study in studies)

    def next_due(self) -> QueuedStudy | None:
        """Return the study to segment next: the one that waits longest; None: there is none.

        Those during which the process ended before come last.
        """
        due = [study for study in self._queue.studies() if self._is_due(study)]
        study = min(due, key=lambda one: one.record.unfinished, default=None)
        if study is not None:
            self._released.discard(study.code)
        return study

    @property
    def waiting(self) -> int:
        """How many studies are not done yet."""
        return sum(not self._is_done(study) for study in self._queue.studies())

    def _is_done(self, study: QueuedStudy) -> bool:
        received_s = study.last_received_s
        if received_s == 0 or self._settled.get(study.code) == received_s:
            return True
        record = study.record
        is_done = bool(record.outcome) and record.images == study.images_digest
        if is_done and time.time() - received_s > _SETTLED_S:
            self._settled[study.code] = received_s
        return is_done

    def _is_due(self, study: QueuedStudy) -> bool:
        now = time.time()
        quiet_s = self._config.quiet_s
        if study.is_unreleased:  # its sender was cut off, and will send again
            quiet_s *= _CUT_OFF_FACTOR
        # While the node was off, nothing could come.
        is_quiet = now - max(study.last_received_s, self._since) >= quiet_s
        if not (is_quiet or study.code in self._released) or self._is_done(study):
            return False
        record = study.record
        return now >= record.not_before or record.attempted != study.images_digest
