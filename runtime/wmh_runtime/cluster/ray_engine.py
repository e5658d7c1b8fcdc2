"""Segment the cases of a job on a Ray cluster: one worker for each GPU, or for some CPU cores.

Workers come and go with the machines of the cluster. A case whose worker is lost is given to
another one. The results are files, so this program itself may be killed and started again.
"""

from __future__ import annotations

import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray

from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cluster.ray_pool import WorkerPool
from wmh_runtime.cluster.ray_runner import RayRunner
from wmh_runtime.cohort.job import Job, Outcome, Progress
from wmh_runtime.cohort.plan import FolderOptions, plan_job
from wmh_runtime.cohort.run import run
from wmh_runtime.cohort.sharing.shared_folder import SharedFolder
from wmh_runtime.errors import InputError
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.outputs.paths import STATE_FOLDER
from wmh_runtime.storage.address import is_address

AUTO = "auto"  # the cluster that this machine is a part of
_CONNECT_S = 10.0


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
        try:
            with _own_signal_handlers():
                ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            problem = f"no Ray cluster at {self.address} ({' '.join(str(error).split())})"
            raise InputError(problem, "Start one on this machine.", about="ray") from error
        token = job.out.absolute() / STATE_FOLDER / f"ray-{secrets.token_hex(8)}"
        token.parent.mkdir(exist_ok=True)
        token.touch()  # so that workers can tell whether they see this folder
        try:
            pool = WorkerPool(job, self.options, self.most_workers, token, self.on_warning)
            yield RayRunner(job, shared, pool, self.on_opened)
        finally:
            ray.shutdown()
            token.unlink(missing_ok=True)


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
    if stored := next(filter(is_address, (source, out)), None):
        problem = "is in object storage, but workers of Ray need folders that all machines see"
        advice = "Mount it, or give each of several runs a shard instead."
        raise InputError(problem, advice, about=stored)
    _require_reachable(address)
    job = plan_job(Path(source).absolute(), Path(out).absolute(), bundle, options, folder_options)
    progress.discovered(job)
    engine = RayEngine(address, options, most_workers, progress.begun, progress.warned)
    return run(job, engine, progress)
