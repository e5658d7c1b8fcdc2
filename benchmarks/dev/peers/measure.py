"""Time the networks of other programs beside whole runs of this one, in turns on one scan.

Of the other programs only the networks are timed, by PyTorch in float32, as they run on a CPU. A
network that is executed many times for a scan is timed a few times, and its time is multiplied. So
their times are lower limits: they leave out the start, reading, preprocessing and writing. This
program is timed from the command to the last file.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from nibabel.orientations import io_orientation

from benchmarks.dev.peers.programs import Pass, Program, Shape, programs
from benchmarks.dev.timed_run import RunOptions, time_run
from wmh_bench.latency.isolated import Failure, call_in_process
from wmh_bench.machine import Machine, describe_machine
from wmh_bench.timing.peak_memory import peak_resident_bytes
from wmh_runtime.errors import BackendError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.machine import available_cores
from wmh_runtime.schema import StrictModel

_TIMED_PASSES = 2  # of a network that is executed more often
_FEW_PASSES = 3  # of a scan; a network that is executed more often is warmed up first


class ProgramSpeed(StrictModel):
    """One program on the scan."""

    program: str
    seconds: float  # median over the turns
    seconds_by_turn: list[float]
    peak_memory_mb: float  # the highest of all turns
    passes: int | None = None  # executions of networks, if only these are timed; None: a whole run
    left_out: str = ""  # what the time does not contain
    assumed: str = ""  # what the public code of the program does not say


class Peers(StrictModel):
    """The measurement."""

    machine: Machine
    scan_mm: Shape  # size of the scan, in voxels of 1 mm
    slices: int
    turns: int
    programs: list[ProgramSpeed]


OWN_RUNS = (
    RunOptions("base", "onnxruntime", "fp32", "full"),
    RunOptions("base", "openvino", "bf16", "full"),
    RunOptions("base", "openvino", "bf16", "adaptive"),
    RunOptions("base", "openvino", "bf16", "none"),
)


@dataclass(frozen=True)
class _Cost:
    seconds: float
    peak_bytes: int


def measure_peers(
    scan: Path,
    turns: int,
    on_step: Callable[[str], None],
    own_runs: Sequence[RunOptions] = OWN_RUNS,
) -> Peers:
    """Time all programs, one after the other, in turns.

    Args:
        scan: FLAIR.
        turns: how often each program is timed.
        on_step: called with the name of a program before it is timed.
        own_runs: of this program.

    Raises:
        InputError: the scan cannot be read.
        BackendError: a network or a run of this program failed.
    """
    size_mm, slices = _describe(scan)
    others = programs(size_mm)
    costs: dict[str, list[_Cost]] = {}
    for turn in range(1, turns + 1):
        for program in others:
            on_step(f"turn {turn}: {program.name}")
            costs.setdefault(program.name, []).append(_time_networks(program))
        for run in own_runs:
            on_step(f"turn {turn}: {run.name}")
            costs.setdefault(run.name, []).append(_time_run(run, scan))
    return Peers(
        machine=describe_machine(),
        scan_mm=size_mm,
        slices=slices,
        turns=turns,
        programs=[
            *(_speed_of_networks(program, costs[program.name]) for program in others),
            *(_speed(run.name, costs[run.name]) for run in own_runs),
        ],
    )


def _describe(scan: Path) -> tuple[Shape, int]:
    """Return the size of a scan in voxels of 1 mm, and its axial slices."""
    read = read_scan(scan)
    lengths_mm = np.multiply(read.shape, read.spacing_mm)
    axes = np.argsort(io_orientation(read.affine)[:, 0])
    x, y, z = (round(lengths_mm[axis]) for axis in axes)
    return (x, y, z), read.shape[axes[2]]


def _speed_of_networks(program: Program, costs: Sequence[_Cost]) -> ProgramSpeed:
    return _speed(program.name, costs).model_copy(
        update={
            "passes": sum(one.count for one in program.passes),
            "left_out": program.left_out,
            "assumed": program.assumed,
        }
    )


def _speed(name: str, costs: Sequence[_Cost]) -> ProgramSpeed:
    seconds = [round(cost.seconds, 1) for cost in costs]
    return ProgramSpeed(
        program=name,
        seconds=round(statistics.median(seconds), 1),
        seconds_by_turn=seconds,
        peak_memory_mb=round(max(cost.peak_bytes for cost in costs) / 1e6),
    )


def _time_networks(program: Program) -> _Cost:
    """Time the networks of a program, each in a process of its own."""
    parts = []
    for one in program.passes:
        part = call_in_process(_time_pass, one)
        if isinstance(part, Failure):
            raise BackendError(part.reason, about=program.name)
        parts.append(part)
    return _Cost(sum(part.seconds for part in parts), max(part.peak_bytes for part in parts))


def _time_pass(one: Pass) -> _Cost:
    torch.set_num_threads(available_cores())
    network, image = one.build().eval(), torch.rand(one.input_shape)
    timed = min(one.count, _TIMED_PASSES)
    with torch.inference_mode():
        if one.count > _FEW_PASSES:
            network(image)
        started_s = time.perf_counter()
        for _ in range(timed):
            network(image)
    seconds = (time.perf_counter() - started_s) / timed * one.count
    return _Cost(seconds, peak_resident_bytes())


def _time_run(run: RunOptions, scan: Path) -> _Cost:
    with tempfile.TemporaryDirectory() as out:
        timed = time_run(scan, Path(out), run)
    return _Cost(timed.seconds, timed.peak_bytes)
