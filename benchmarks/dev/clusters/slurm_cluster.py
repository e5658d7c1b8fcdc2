"""A real Slurm with one node on this machine."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel")
_SLOTS = 8  # tasks that run at a time, whatever this machine has
_START_S = 60.0
# Slurm puts a task that is requeued into the queue again after the life of a credential, 6 s.
_CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=6
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SchedulerType=sched/backfill
JobRequeue=1
KillWait=20
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={slots} RealMemory=100000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_no_slurm() -> str:
    """Return why Slurm cannot be started here; empty: it can."""
    if os.name != "posix" or os.getuid() != 0:
        return "only root can start Slurm"
    missing = [name for name in _PROGRAMS if not shutil.which(name)]
    return f"not installed: {', '.join(missing)}" if missing else ""


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[None]:
    """Start Slurm; in the block, its commands can be used.

    Args:
        folder: for its files; it is created.

    Raises:
        TimeoutError: it does not start.
    """
    folder.mkdir(parents=True)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key, config = folder / "munge.key", folder / "slurm.conf"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    ports = {"control_port": _free_port(), "node_port": _free_port()}
    host = socket.gethostname()
    config.write_text(_CONFIG.format(folder=folder, host=host, slots=_SLOTS, **ports))
    munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munge += [f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid"]
    munge += [f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"]
    before, os.environ["SLURM_CONF"] = os.environ.get("SLURM_CONF"), str(config)
    with ExitStack() as stack:
        stack.callback(_restore, before)
        for command in (
            munge,
            ["slurmctld", "-D", "-f", str(config)],
            ["slurmd", "-D", "-f", str(config)],
        ):
            with (folder / f"{command[0]}.out").open("wb") as said:
                process = subprocess.Popen(command, stdout=said, stderr=said)
            stack.callback(_end, process)
            time.sleep(0.5)
        until = time.monotonic() + _START_S
        while "idle" not in ask_slurm("sinfo", "--noheader", "--format=%T"):
            if time.monotonic() > until:
                raise TimeoutError(f"Slurm does not start; its logs are in {folder}")
            time.sleep(0.1)
        yield


def ask_slurm(*command: str) -> str:
    """Run a command of Slurm; return what it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def tasks_of(job: str) -> dict[str, str]:
    """Return the state of each task of a job that has not ended, such as `3_1` → `RUNNING`."""
    listed = ask_slurm("squeue", "--noheader", "--array", f"--job={job}", "--format=%i %T")
    pairs = (line.split() for line in listed.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and "_" in pair[0]}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _restore(before: str | None) -> None:
    if before is None:
        del os.environ["SLURM_CONF"]
    else:
        os.environ["SLURM_CONF"] = before


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
