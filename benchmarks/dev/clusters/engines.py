"""The ways to run on several processes or machines, each on this machine, and how to disturb them.

Each way begins to segment a folder, can be disturbed at any moment, and is brought to its end.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks.dev.clusters.slurm_cluster import ask_slurm, slurm_cluster, tasks_of

WORKERS = 4
_PROGRAM = "from wmh_runtime.cli.launcher import infer; infer()"
OK = (0, 1)  # exit status: all done, or some scans failed


class Engine(Protocol):
    """A way to run."""

    name: str

    def begin(self, arguments: Sequence[str]) -> None:
        """Begin to segment; the arguments are those of `wmh-infer`."""

    def disturb(self, moments: random.Random) -> str:
        """Kill a part of it; return what was killed."""

    def finish(self) -> None:
        """Wait for the end; what was killed and does not come back by itself is started again."""


class Processes:
    """Processes of this machine that share one folder."""

    def __init__(self, count: int) -> None:
        self.name = "one process" if count == 1 else f"{count} processes, one folder"
        self._count = count

    def begin(self, arguments: Sequence[str]) -> None:
        """Start the processes."""
        self._arguments = arguments
        self._running = [start_infer(arguments) for _ in range(self._count)]

    def disturb(self, moments: random.Random) -> str:
        """Kill one, and start another."""
        victim = moments.randrange(self._count)
        self._running[victim].kill()
        self._running[victim].wait()
        self._running[victim] = start_infer(self._arguments)
        return "process"

    def finish(self) -> None:
        """Wait for all."""
        for process in self._running:
            _require_ok(process.wait())


class SlurmArray:
    """A job array of Slurm."""

    name = f"Slurm array of {WORKERS}"

    def begin(self, arguments: Sequence[str]) -> None:
        """Submit the array."""
        self._arguments = arguments
        source, out, *options = arguments
        resources = ["--tasks", str(WORKERS), "--cpus", "1", "--memory-gb", "1"]
        command = ["submit", source, out, *resources, "--", *options]
        said = subprocess.check_output([sys.executable, "-c", _PROGRAM, *command], text=True)
        found = re.search(r"submitted job (\d+)", said)
        if found is None:
            raise RuntimeError(f"no job was submitted: {said}")
        self._job = found[1]

    def disturb(self, moments: random.Random) -> str:
        """Kill a task, or put it into the queue again."""
        command = moments.choice([("scontrol", "requeue"), ("scancel", "--signal=KILL")])
        ask_slurm(*command, f"{self._job}_{moments.randrange(WORKERS)}")
        return " ".join(command)

    def finish(self) -> None:
        """Wait for all tasks; submit the array again if some were killed."""
        self._wait()
        states = ask_slurm("scontrol", "show", "job", self._job)
        if "JobState=FAILED" in states or "JobState=CANCELLED" in states:
            self.begin(self._arguments)
            self._wait()

    def _wait(self) -> None:
        while tasks_of(self._job):
            time.sleep(0.2)


class RayNodes:
    """A Ray cluster of three nodes."""

    name = "Ray, three nodes"

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": WORKERS - 2, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, connect=False, head_node_args=head)
        for _ in range(2):
            self._cluster.add_node(num_cpus=1)

    def begin(self, arguments: Sequence[str]) -> None:
        """Start the driver."""
        self._arguments = arguments
        self._driver = self._start()

    def disturb(self, moments: random.Random) -> str:
        """Kill the driver or a node, and start another."""
        if moments.random() < 0.5:
            self._driver.kill()
            self._driver.wait()
            self._driver = self._start()
            return "driver"
        node = moments.choice(sorted(self._cluster.worker_nodes, key=str))
        self._cluster.remove_node(node, allow_graceful=False)
        self._cluster.add_node(num_cpus=1)
        return "node"

    def finish(self) -> None:
        """Wait for the driver."""
        _require_ok(self._driver.wait())

    def close(self) -> None:
        """End the cluster."""
        self._cluster.shutdown()

    def _start(self) -> subprocess.Popen[bytes]:
        return start_infer([*self._arguments, "--ray", self._cluster.address])


@contextmanager
def open_engines(work: Path) -> Iterator[list[Engine]]:
    """Open all ways to run; the clusters end with the block.

    Processes of the clusters have the environment that this one has now.

    Args:
        work: for files of the clusters.
    """
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # as it will be in later versions
    with tempfile.TemporaryDirectory(dir=work) as folder, slurm_cluster(Path(folder) / "slurm"):
        nodes = RayNodes()
        try:
            yield [Processes(1), Processes(WORKERS), SlurmArray(), nodes]
        finally:
            nodes.close()


def start_infer(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None, first: str = ""
) -> subprocess.Popen[bytes]:
    """Start `wmh-infer` in a process of its own, which says nothing.

    Args:
        arguments: of `wmh-infer`.
        environment: of the process; None: that of this one.
        first: Python statements to begin with.
    """
    nowhere = subprocess.DEVNULL
    command = [sys.executable, "-c", first + _PROGRAM, *arguments]
    return subprocess.Popen(command, stdout=nowhere, stderr=nowhere, env=environment)


def _require_ok(status: int) -> None:
    if status not in OK:
        raise RuntimeError(f"a run ended with exit status {status}")
