"""Submit a run as a job array of Slurm: each task segments a shard of the scans.

A task that comes near its time limit finishes the scans that it has begun, and is put into the
queue again. Then it continues.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from submitit import SlurmExecutor
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError

from wmh_runtime.errors import InputError

_WARNING_S = 300  # before the time limit
_SHARE_TO_FINISH = 0.7  # of this time; Slurm may warn later, and needs some to queue a task again
_POLL_S = 0.2
_MAX_REQUEUES = 10_000  # of a task that reached its time limit
# Slurm sends the warning to all processes of a task. It is left to the one that knows what to do.
_PROGRAM = (
    "import signal, sys; sys.argv[0] = 'wmh-infer'; signal.signal(signal.SIGUSR2, signal.SIG_IGN);"
    "from wmh_runtime.cli.launcher import infer; infer()"
)
_EXIT_SOME_FAILED = 1


@dataclass(frozen=True)
class Resources:
    """What each task of a job array is given."""

    partition: str = ""  # empty: the default one of the cluster
    time_min: int = 240
    cpus: int = 4
    gpus: int = 0
    memory_gb: float = 16.0
    others: Mapping[str, str] = field(default_factory=dict)  # option of sbatch → value

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of submitit."""
        parameters: dict[str, object] = {
            "time": self.time_min,
            "cpus_per_task": self.cpus,
            "mem": f"{round(self.memory_gb * 1024)}MB",
            "additional_parameters": {"requeue": True, **self.others},
        }
        if self.partition:
            parameters["partition"] = self.partition
        if self.gpus:
            parameters["gpus_per_node"] = self.gpus
        return parameters


class ShardTask:
    """A task: runs `wmh-infer` on its shard. Slurm may stop it at any time, and start it again.

    Args:
        arguments: of `wmh-infer`, with the shard.
        finish_s: time that scans get to be finished before the task is put into the queue again.
    """

    def __init__(self, arguments: Sequence[str], finish_s: float) -> None:
        self._arguments = arguments
        self._finish_s = finish_s
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run until all scans of the shard are done; return the exit status.

        Raises:
            SystemExit: nothing could be done, or the run was stopped. The exit status of the task
                is that of the run, whose message is the last one in the log; 128 and the number of
                the signal if it was killed.
        """
        self._process = subprocess.Popen(infer_command(self._arguments))
        _wait_for(self._process)
        status = self._process.wait()
        if status not in (0, _EXIT_SOME_FAILED):
            if status < 0:  # the run could not say anything
                sys.stderr.write(f"error: wmh-infer was killed by signal {-status}\n")
            raise SystemExit(status if status > 0 else 128 - status)
        return status

    def checkpoint(self) -> DelayedSubmission:
        """Stop, and return what to run when the task is started again. Called before the limit."""
        if self._process is not None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self._process.pid, signal.SIGTERM)
            if not _has_ended(self._process, self._finish_s):
                os.kill(self._process.pid, signal.SIGKILL)  # what is finished is kept
                _wait_for(self._process)
        self._process = None  # it cannot be stored
        return DelayedSubmission(self)


def infer_command(arguments: Sequence[str]) -> list[str]:
    """Return the command that runs `wmh-infer` with this Python."""
    return [sys.executable, "-c", _PROGRAM, *arguments]


def submit_array(
    tasks: Sequence[Sequence[str]], logs: Path, resources: Resources, name: str = "wmh-infer"
) -> str:
    """Submit a job array.

    Args:
        tasks: for each task, the arguments of `wmh-infer`, with its shard. Every machine of the
            cluster has to see the paths.
        logs: folder for the logs of the tasks, which every machine has to see, too.
        resources: of each task.
        name: of the job.

    Returns:
        The number of the job.

    Raises:
        InputError: there is no Slurm, or it refuses the job.
    """
    warning_s = min(_WARNING_S, resources.time_min * 60 // 2)
    finish_s = warning_s * _SHARE_TO_FINISH
    try:
        executor = SlurmExecutor(logs, max_num_timeout=_MAX_REQUEUES)
        executor.update_parameters(
            job_name=name,
            signal_delay_s=warning_s,
            array_parallelism=len(tasks),
            stderr_to_stdout=True,
            **resources.parameters,
        )
        with executor.batch():
            jobs = [executor.submit(ShardTask(arguments, finish_s)) for arguments in tasks]
    except (FailedSubmissionError, FailedJobError, subprocess.CalledProcessError) as error:
        raise InputError(f"Slurm refuses the job: {error}", "Change the options.") from error
    except RuntimeError as error:  # no srun
        advice = "Run this on a machine from which jobs of Slurm are submitted."
        raise InputError(f"Slurm is not here ({error})", advice) from error
    return jobs[0].job_id.partition("_")[0]


def _has_ended(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait until a process has ended, but no longer than this; return whether it has."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        try:
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                return True
        except ChildProcessError:  # it has been waited for
            return True
        time.sleep(_POLL_S)
    return False


def _wait_for(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has ended. Unlike its own method, a signal handler may call it, too."""
    with suppress(ChildProcessError):  # it has been waited for
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
