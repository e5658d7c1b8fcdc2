"""`wmh-infer submit`: run on a cluster, as a job array of Slurm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from wmh_runtime.cli import console
from wmh_runtime.cohort.sharing.shard import Shard
from wmh_runtime.errors import InputError
from wmh_runtime.outputs.paths import STATE_FOLDER
from wmh_runtime.storage.address import is_address

_LOG_FOLDER = STATE_FOLDER / "slurm"
_NOT_HERE = {
    "--shard": "Leave it out: each task gets its own.",
    "--overwrite": "Leave it out: a task that is started again would begin with its first scan."
    " Remove the old results, or choose another folder.",
    "--dry-run": "Leave it out: options are checked before anything is submitted.",
    "--ray": "Leave it out: Slurm and Ray are two ways to run.",
}

app = console.command_line("Segment a folder of scans on a cluster, as a job array of Slurm.")


@app.command(**console.ONLY_COMMAND)
@console.needs("slurm", "submitit")
def submit(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Folder of scans, as for wmh-infer.")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder for the results.")],
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- OPTIONS]", help="Options of wmh-infer, after two dashes."),
    ] = None,
    tasks: Annotated[
        int, typer.Option(min=1, max=10_000, help="Tasks of the array; each has a shard.")
    ] = 8,
    partition: Annotated[str, typer.Option(help="Partition of the cluster.")] = "",
    hours: Annotated[
        float, typer.Option(min=0.02, help="Time limit of a task. One that reaches it continues.")
    ] = 4.0,
    cpus: Annotated[int, typer.Option(min=1, help="CPU cores of a task.")] = 4,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of a task.")] = 0,
    memory_gb: Annotated[float, typer.Option(min=0.1, help="Memory of a task, in GB.")] = 16.0,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Another option of sbatch, such as account=brain. May be given several times.",
        ),
    ] = None,
) -> None:
    """Submit a job array of Slurm that segments a folder of scans.

    All machines must see both folders and this program under the same paths. A task that reaches
    its time limit finishes the scans that it has begun, is put into the queue again, and continues.
    Should tasks be lost, submit again: finished scans are kept.

    Example: wmh-infer submit scans results --tasks 16 --partition gpu --gpus 1 -- --regions
    """
    from wmh_runtime.cluster.slurm import Resources, submit_array

    places = (one if is_address(one) else str(Path(one).absolute()) for one in (source, out))
    arguments = [*places, *(options or [])]
    _require_valid(arguments)
    others = dict(map(_parse_option, slurm or []))
    resources = Resources(partition, round(hours * 60), cpus, gpus, memory_gb, others)
    shards = (Shard(number, tasks) for number in range(1, tasks + 1))
    logs = Path("wmh-infer-logs" if is_address(out) else Path(out, _LOG_FOLDER)).absolute()
    job = submit_array([[*arguments, "--shard", str(one)] for one in shards], logs, resources)
    console.print_line(f"submitted job {job}: {tasks} tasks")
    console.print_line(f"progress: wmh-infer status {out} --watch")
    console.print_line(f"state of the tasks: squeue --job {job}; to stop them: scancel {job}")
    console.print_line(f"logs: {logs / job}_*.out")


def _require_valid(arguments: list[str]) -> None:
    """Refuse now what each task would refuse; exit with the message of `wmh-infer`."""
    for option, reason in _NOT_HERE.items():
        if any(one.partition("=")[0] == option for one in arguments):
            raise InputError("is given after the two dashes", reason, about=option)
    from wmh_runtime.cluster.slurm import infer_command

    command = infer_command([*arguments, "--dry-run"])
    checked = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    sys.stderr.write(checked.stderr)
    if checked.returncode:
        raise typer.Exit(checked.returncode)


def _parse_option(text: str) -> tuple[str, str]:
    name, is_given, value = text.partition("=")
    if not (name and is_given):
        raise InputError(f"got {text}, expected NAME=VALUE", "Give both.", about="--slurm")
    return name.lstrip("-"), value
