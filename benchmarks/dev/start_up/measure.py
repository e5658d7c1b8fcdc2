"""Measure a run of `wmh-infer` in a process of its own: time to the first slice, time, memory.

The first run is the first use of the backend on this computer: it is compared with the reference
outputs. The others find the result of this comparison.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wmh_bench.machine import Machine, describe_machine
from wmh_runtime.errors import BackendError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.schema import StrictModel

# The slices of a scan are submitted by threads, those of the comparison by the main thread.
_INFER = """
import atexit, json, os, threading, time
from wmh_bench.timing.peak_memory import peak_resident_bytes
from wmh_runtime.backends.base import Backend
from wmh_runtime.cli.launcher import infer

first, submit = [], Backend.submit

def noted(self, slices):
    if threading.current_thread() is not threading.main_thread():
        first.append(time.time() - float(os.environ["STARTED_S"]))
    return submit(self, slices)

def tell():
    print(json.dumps({"first_slice_s": first[0], "peak_bytes": peak_resident_bytes()}))

Backend.submit = noted
atexit.register(tell)
infer()
"""


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


@dataclass(frozen=True)
class RunOptions:
    """How the scan is segmented."""

    bundle: str
    backend: str
    precision: str
    tta: str


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
    arguments = ["--bundle", options.bundle, "--backend", options.backend]
    arguments += ["--precision", options.precision, "--tta", options.tta]
    started_s = time.time()
    environment = {"XDG_CACHE_HOME": str(cache), "STARTED_S": repr(started_s)}
    done = subprocess.run(
        [sys.executable, "-c", _INFER, str(scan), str(out), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    seconds = time.time() - started_s
    if done.returncode:
        raise BackendError(f"failed: {done.stderr.strip()}", about=scan)
    told = json.loads(done.stdout.splitlines()[-1])
    return RunCost(
        first_slice_s=round(told["first_slice_s"], 2),
        seconds=round(seconds, 1),
        peak_memory_mb=round(told["peak_bytes"] / 1e6),
    )
