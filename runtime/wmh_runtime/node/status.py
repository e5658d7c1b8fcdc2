"""What a node says of itself: what is wrong, and its metrics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from wmh_runtime.node.config import NodeConfig
from wmh_runtime.node.metrics import Metrics
from wmh_runtime.node.queue import Queue
from wmh_runtime.node.schedule import Schedule, longest_quiet_s
from wmh_runtime.node.sender import Sender
from wmh_runtime.node.worker import Worker
from wmh_runtime.text import count_noun

_LONG_S = 3600.0  # a result should not wait for so long


class Status:
    """What the status pages say.

    Args:
        config: of the node.
        queue: with studies and results.
        schedule: of the studies.
        worker: that segments them.
        senders: of the results.
        metrics: to report.
    """

    def __init__(
        self,
        config: NodeConfig,
        queue: Queue,
        schedule: Schedule,
        worker: Worker,
        senders: Sequence[Sender],
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._queue = queue
        self._schedule = schedule
        self._worker = worker
        self._senders = senders
        self._metrics = metrics
        self._names = [one.name for one in config.results.destinations]

    def problems(self) -> list[str]:
        """Return what is wrong with the node, a line each."""
        found = []
        if self._worker.fatal or not self._worker.is_alive():
            found.append("studies are not segmented any more")
        found += [
            f"{one.name} does not send any more" for one in self._senders if not one.is_alive()
        ]
        if self._schedule.longest_wait_s > _LONG_S + longest_quiet_s(self._config.study):
            found.append(f"{self._schedule.waiting} studies wait, one for more than an hour")
        if self._queue.free_bytes < self._config.min_free_bytes:
            found.append("the disk is full: nothing is received or segmented")
        for name in self._names:
            waiting = self._queue.outbox.waiting(name)
            with suppress(FileNotFoundError):  # it has just been sent
                if waiting and time.time() - waiting[0].stat().st_mtime > _LONG_S:
                    count = count_noun(len(waiting), "result")
                    found.append(f"{count} not sent to {name} for more than an hour")
            if rejected := self._queue.outbox.rejected(name):
                count = count_noun(rejected, "result")
                found.append(f"{count} for {name} cannot be read, and set aside")
        return found

    def metrics(self) -> bytes:
        """Return the text of /metrics."""
        metrics = self._metrics
        metrics.studies_waiting.set(self._schedule.waiting)
        metrics.free_bytes.set(self._queue.free_bytes)
        for name in self._names:
            metrics.results_waiting.labels(name).set(len(self._queue.outbox.waiting(name)))
        return metrics.text()
