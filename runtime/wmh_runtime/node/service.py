"""A node: receiver, worker, senders and status pages around one queue."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack

from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.errors import InputError
from wmh_runtime.files.folder_lock import lock_folder
from wmh_runtime.inference.backend_selection import open_backends
from wmh_runtime.node.config import NodeConfig
from wmh_runtime.node.metrics import Metrics
from wmh_runtime.node.pages import status_pages
from wmh_runtime.node.queue import Queue
from wmh_runtime.node.receiver import Receiver
from wmh_runtime.node.sender import Sender, associate
from wmh_runtime.node.worker import Worker
from wmh_runtime.text import count_noun

_POLL_S = 0.5
_LONG_S = 3600.0

_log = logging.getLogger(__name__)


def serve(config: NodeConfig, wait: Callable[[float], bool]) -> None:
    """Run a node.

    Args:
        config: of the node.
        wait: waits for some seconds, and returns whether the node shall stop.

    Raises:
        InputError: a port or a folder cannot be used, or another node uses the queue.
        BackendError: the model cannot be run.
        DeviceLostError: the device failed. All studies are still in the queue.
    """
    queue, metrics = Queue(config.folder), Metrics()
    bundle, options = load_bundle(config.model.bundle), config.model.options
    with ExitStack() as stack:
        stack.enter_context(lock_folder(config.folder))
        queue.clean_up()
        opened = stack.enter_context(
            open_backends(bundle, options.backend, options.backend_options)
        )
        _log.info("model %s, id %s, on %s", bundle.manifest.name, bundle.manifest.model_id, opened)
        worker = Worker(config, queue, bundle, opened.backends, metrics)
        senders = [
            Sender(destination, queue, config.listen.ae_title, metrics)
            for destination in config.results.destinations
        ]
        receiver = Receiver(config.listen, queue, config.min_free_bytes, metrics, worker.release)
        status = _Status(config, queue, worker, metrics)
        for name in status.unknown_outboxes:
            _log.warning("results wait for %s, which is not a destination any more", name)
        stack.enter_context(status_pages(config.status.port, status.problems, status.metrics))
        threads: list[Worker | Sender] = [worker, *senders]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
            stack.callback(thread.stop)
        with receiver.listening():
            while not (wait(_POLL_S) or worker.fatal):
                pass
        _log.info("stopping")
    if worker.fatal:
        raise worker.fatal


def check(config: NodeConfig) -> list[str]:
    """Check a configuration: open the model, and ask each destination for an answer (C-ECHO).

    Returns:
        A line for each thing that was checked.

    Raises:
        InputError: a folder cannot be used, or a destination does not answer.
        BackendError: the model cannot be run.
    """
    Queue(config.folder)
    bundle, options = load_bundle(config.model.bundle), config.model.options
    lines = [f"queue {config.folder}"]
    with open_backends(bundle, options.backend, options.backend_options) as opened:
        lines.append(f"model {bundle.manifest.name} runs on {opened}")
    for destination in config.results.destinations:
        association = associate(destination, config.listen.ae_title, [])
        if not association.is_established:
            problem = f"does not answer at {destination.host}, port {destination.port}"
            advice = "Check address and AE titles, there and here, and the firewall."
            raise InputError(problem, advice, about=f"destination {destination.name}")
        association.send_c_echo()
        association.release()
        lines.append(f"destination {destination.name} answers")
    return lines


class _Status:
    """What the status pages say."""

    def __init__(self, config: NodeConfig, queue: Queue, worker: Worker, metrics: Metrics) -> None:
        self._config = config
        self._queue = queue
        self._worker = worker
        self._metrics = metrics
        self._names = [one.name for one in config.results.destinations]

    @property
    def unknown_outboxes(self) -> list[str]:
        return list(self._queue.unknown_outboxes(self._names))

    def problems(self) -> list[str]:
        found = []
        if self._worker.fatal or not self._worker.is_alive():
            found.append("studies are not segmented any more")
        if self._queue.free_bytes < self._config.min_free_bytes:
            found.append("the disk is full: nothing is received or segmented")
        for name in self._names:
            waiting = self._queue.waiting(name)
            if waiting and time.time() - waiting[0].stat().st_mtime > _LONG_S:
                count = count_noun(len(waiting), "result")
                found.append(f"{count} not sent to {name} for more than an hour")
        return found

    def metrics(self) -> bytes:
        metrics = self._metrics
        metrics.studies_waiting.set(self._worker.waiting)
        metrics.free_bytes.set(self._queue.free_bytes)
        for name in self._names:
            metrics.results_waiting.labels(name).set(len(self._queue.waiting(name)))
        return metrics.text()
