"""A node: receiver, worker, senders and status pages around one queue."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack

from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.files.folder_lock import lock_folder
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.inference.backend_selection import open_backends
from wmh_runtime.node.config import NodeConfig
from wmh_runtime.node.metrics import Metrics
from wmh_runtime.node.pages import status_pages
from wmh_runtime.node.queue import Queue
from wmh_runtime.node.receiver import Receiver
from wmh_runtime.node.schedule import Schedule
from wmh_runtime.node.sender import Sender, require_answer
from wmh_runtime.node.status import Status
from wmh_runtime.node.tls import server_context
from wmh_runtime.node.worker import Worker

_POLL_S = 0.5

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
        schedule = Schedule(config.study, queue)
        worker = Worker(config, queue, schedule, bundle, opened.backends, metrics)
        senders = [
            Sender(destination, queue, config.listen.ae_title, metrics)
            for destination in config.results.destinations
        ]
        receiver = Receiver(config.listen, queue, config.min_free_bytes, metrics, schedule.release)
        status = Status(config, queue, schedule, worker, senders, metrics)
        names = [one.name for one in config.results.destinations]
        for name in queue.outbox.unknown(names):
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
    """Check a configuration: folders, certificates and the model; ask each destination (C-ECHO).

    Returns:
        A line for each thing that was checked.

    Raises:
        InputError: a folder or a certificate cannot be used, or a destination does not answer or
            does not take the results.
        BackendError: the model cannot be run.
    """
    Queue(config.folder)
    make_writable_folder(config.folder)
    lines = [f"queue {config.folder} can be written"]
    if config.results.folder is not None:
        make_writable_folder(config.results.folder)
        lines.append(f"results {config.results.folder} can be written")
    if config.listen.tls is not None:
        server_context(config.listen.tls)
    bundle, options = load_bundle(config.model.bundle), config.model.options
    with open_backends(bundle, options.backend, options.backend_options) as opened:
        lines.append(f"model {bundle.manifest.name} runs on {opened}")
    for destination in config.results.destinations:
        require_answer(destination, config.listen.ae_title, config.results.kinds)
        lines.append(f"destination {destination.name} answers, and takes the results")
    return lines
