"""A real Slurm with one node on this machine, as a test starts it."""

import os
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager

from tests.processes import wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel")
SLOTS = 8  # tasks that run at a time, whatever this machine has
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


def why_not():
    """Why Slurm cannot be started here; empty: it can."""
    if os.name != "posix" or os.getuid() != 0:
        return "only root can start Slurm"
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    return f"not installed: {', '.join(missing)}" if missing else ""


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def slurm_cluster(folder):
    """Start Slurm; the environment of the block is that of a machine to submit from."""
    folder.mkdir(parents=True)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key, config = folder / "munge.key", folder / "slurm.conf"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    ports = {"control_port": _free_port(), "node_port": _free_port()}
    host = socket.gethostname()
    config.write_text(_CONFIG.format(folder=folder, host=host, slots=SLOTS, **ports))
    before, os.environ["SLURM_CONF"] = os.environ.get("SLURM_CONF"), str(config)
    munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munge += [f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid"]
    munge += [f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"]
    with ExitStack() as stack:
        stack.callback(_restore, before)
        for command in (munge, ["slurmctld", "-D", "-f", config], ["slurmd", "-D", "-f", config]):
            with (folder / f"{command[0]}.out").open("wb") as said:
                process = subprocess.Popen(command, stdout=said, stderr=said)
            stack.callback(_end, process)
            time.sleep(0.5)
        wait_until(lambda: "idle" in run("sinfo", "--noheader", "--format=%T"))
        yield


def run(*command):
    """Run a command of Slurm; return what it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def states(job):
    """The state of each task of a job that has not ended."""
    lines = run("squeue", "--noheader", "--array", f"--job={job}", "--format=%i %T").splitlines()
    pairs = (line.split() for line in lines)
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and "_" in pair[0]}


def _restore(before):
    if before is None:
        del os.environ["SLURM_CONF"]
    else:
        os.environ["SLURM_CONF"] = before


def _end(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
