"""Measure a run of `wmh-infer` in a process of its own: time to the first slice, time, memory.

The first run is the first use of the backend on this computer: it is compared with the reference
outputs. The others find the result of this comparison.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.dev.timed_run import RunOptions, time_run
from wmh_bench.machine import Machine, describe_machine
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.schema import StrictModel


class RunCost(StrictModel):
    """What one run took."""

    first_slice_s: float  # from the command to the first slice of the scan on the device
    seconds: float  # to the last file
    peak_memory_mb: float  # resident, 10⁶ bytes


class StartUp(StrictModel):
    """The measurement."""

    machine: Machine
    bundle: str
    backend: str
    precision: str
    tta: str
    voxels: tuple[int, int, int]
    first_use: RunCost
    later: list[RunCost]
    median_first_slice_s: float  # of the later runs


def measure_start_up(
    scan: Path, options: RunOptions, turns: int, on_step: Callable[[str], None]
) -> StartUp:
    """Segment a scan several times, each time in a new process.

    Args:
        scan: FLAIR.
        options: for all runs.
        turns: runs after the first one.
        on_step: called before each run.

    Raises:
        InputError: the scan cannot be read.
        BackendError: a run failed.
    """
    voxels = read_scan(scan).shape
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs = []
        for turn in range(turns + 1):
            on_step(f"run {turn + 1} of {turns + 1}")
            costs.append(_run(scan, folder / f"out-{turn}", folder / "cache", options))
    first_use, *later = costs
    return StartUp(
        machine=describe_machine(),
        bundle=options.bundle,
        backend=options.backend,
        precision=options.precision,
        tta=options.tta,
        voxels=voxels,
        first_use=first_use,
        later=later,
        median_first_slice_s=round(statistics.median(one.first_slice_s for one in later), 2),
    )


def _run(scan: Path, out: Path, cache: Path, options: RunOptions) -> RunCost:
    timed = time_run(scan, out, options, {"XDG_CACHE_HOME": str(cache)})
    return RunCost(
        first_slice_s=round(timed.first_slice_s, 2),
        seconds=round(timed.seconds, 1),
        peak_memory_mb=round(timed.peak_bytes / 1e6),
    )
