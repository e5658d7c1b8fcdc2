"""The workers of a Ray cluster: as many as each machine has room for, and machines come and go."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from wmh_runtime.cluster.ray_worker import RayWorker, job_of_worker
from wmh_runtime.cohort.job import Job
from wmh_runtime.cohort.local_runner import max_cases
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import BackendError
from wmh_runtime.inference.backend_selection import AUTO
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.text import count_noun

CORES_OF_WORKER = 4  # unless the threads option says another number
_CPU_BACKENDS = ("onnxruntime", "openvino")
_LOOK_AT_CLUSTER_S = 5.0
_WARN_WITHOUT_WORKER_S = 15.0
_MAX_CRASHES = 3  # of workers of a machine that never opened the model


@dataclass(eq=False)
class Task:
    """A case, until it is done."""

    case: Case
    lost: int = 0  # workers that ended during it
    not_before: float = 0.0  # by the monotonic clock


@dataclass(eq=False)
class Worker:
    """A worker, from when it is asked for."""

    actor: Any
    opening: Any  # reference to what `open` returns
    machine: str  # number of the machine in the cluster; empty: any
    is_open: bool = False
    is_alone: bool = False  # its case has ended another worker: no other case is put at risk
    tasks: dict[Any, Task] = field(default_factory=dict)  # by the reference to their report


class WorkerPool:
    """Asks for workers, and does without machines that cannot be used.

    Args:
        job: what to do.
        options: of the inference.
        most: workers; None: as many as the cluster has room for.
        token: a file in the output folder, by which a worker knows that it sees the same folder.
        warn: called with what is to be known about the cluster.
    """

    def __init__(
        self,
        job: Job,
        options: InferenceOptions,
        most: int | None,
        token: Path,
        warn: Callable[[str], None],
    ) -> None:
        self.workers: list[Worker] = []
        self.cores = options.threads or CORES_OF_WORKER
        self.cases_at_a_time = max_cases(1, self.cores)  # of a worker
        self._options = replace(options, threads=self.cores)
        self._most = most
        self._cases = len(job.cases)
        self._job = ray.put(job_of_worker(job))
        self._name_clashes = job.name_clashes
        self._token = token
        self._warn = warn
        self._refused: dict[str, Exception] = {}  # machine → why it is not used
        self._crashes = Counter[str]()
        self._look_at = 0.0
        self._last_worker_at = time.monotonic()
        self._has_warned = False

    def refresh(self) -> Exception | None:
        """Ask for workers on machines that have room; return why no machine can be used, if so."""
        now = time.monotonic()
        if now < self._look_at:
            return None
        self._look_at = now + _LOOK_AT_CLUSTER_S
        machines = {one["NodeID"]: one["Resources"] for one in ray.nodes() if one["Alive"]}
        uses_gpus = self._uses_gpus(machines)
        usable = {name: has for name, has in machines.items() if name not in self._refused}
        if machines and not usable and not self.workers:
            return list(self._refused.values())[-1]
        most = min(self._most or self._cases, self._cases)
        of_machines = Counter(worker.machine for worker in self.workers)
        for name, has in usable.items():
            room = self._room(has, uses_gpus=uses_gpus)
            for _ in range(min(room - of_machines[name], most - len(self.workers))):
                self._ask(name, neighbors=min(room, most), uses_gpus=uses_gpus)
        # A cluster that grows by itself sees these, and starts machines for them.
        for _ in range(most - len(self.workers) if self._most else 0):
            self._ask("", neighbors=1, uses_gpus=uses_gpus)
        self._warn_without_worker(now, machines)
        return None

    def free_worker(self, *, is_empty: bool = False) -> Worker | None:
        """Return the open worker with the fewest cases, if it can take one more.

        Args:
            is_empty: it must have none.
        """
        ready = [one for one in self.workers if one.is_open and not one.is_alone]
        worker = min(ready, key=lambda one: len(one.tasks), default=None)
        most = 0 if is_empty else self.cases_at_a_time  # one more waits there
        return worker if worker and len(worker.tasks) <= most else None

    def refuse(self, worker: Worker, why: Exception) -> None:
        """Do without the machine of a worker that cannot open the model."""
        self.workers.remove(worker)
        self._look_at = 0.0
        if worker.machine not in self._refused:
            self._refused[worker.machine] = why
            self._warn(f"a machine of the cluster is not used: {why}")

    def lose(self, worker: Worker, why: Exception) -> bool:
        """Do without a worker that ended; return whether its machine is still there."""
        self.workers.remove(worker)
        alive = {one["NodeID"] for one in ray.nodes() if one["Alive"]}
        if not worker.is_open and worker.machine in alive:
            self._crashes[worker.machine] += 1
            if self._crashes[worker.machine] >= _MAX_CRASHES:
                reason = " ".join(str(why).split())
                problem = f"{_MAX_CRASHES} workers ended before they had opened the model: {reason}"
                error = BackendError(problem, "Look at the logs of the cluster.")
                self._refused.setdefault(worker.machine, error)
                self._warn(f"a machine of the cluster is not used: {error}")
        else:
            self._warn("a worker of the cluster ended; its scans are given to others")
        return not worker.machine or worker.machine in alive

    def _uses_gpus(self, machines: dict[str, dict[str, float]]) -> bool:
        backend = self._options.backend
        if backend == AUTO:
            return any(has.get("GPU", 0) >= 1 for has in machines.values())
        return backend not in _CPU_BACKENDS

    def _room(self, has: dict[str, float], *, uses_gpus: bool) -> int:
        room = int(has.get("CPU", 0) // self.cores)
        return min(room, int(has.get("GPU", 0))) if uses_gpus else room

    def _ask(self, machine: str, *, neighbors: int, uses_gpus: bool) -> None:
        strategy = NodeAffinitySchedulingStrategy(machine, soft=False) if machine else "DEFAULT"
        remote = ray.remote(RayWorker).options(
            num_cpus=self.cores,
            num_gpus=1 if uses_gpus else 0,
            max_concurrency=self.cases_at_a_time,
            max_restarts=0,
            scheduling_strategy=strategy,
        )
        actor = remote.remote(
            *(self._job, self._options, self._name_clashes, Path.cwd(), self._token, neighbors)
        )
        self.workers.append(Worker(actor, actor.open.remote(), machine))

    def _warn_without_worker(self, now: float, machines: dict[str, dict[str, float]]) -> None:
        """Say once what a worker needs, if there has been no room for any for a while."""
        if self.workers:
            self._last_worker_at = now
        elif now - self._last_worker_at >= _WARN_WITHOUT_WORKER_S and not self._has_warned:
            self._has_warned = True
            largest = max((int(has.get("CPU", 0)) for has in machines.values()), default=0)
            self._warn(
                f"waiting for a machine: a worker needs {count_noun(self.cores, 'CPU core')}, and"
                f" the largest machine of the cluster has {largest}. Set the number with the"
                " threads option"
            )
