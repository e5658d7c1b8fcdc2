"""Time a run of `wmh-infer` in a process of its own, from the command to the last file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.errors import BackendError

# The slices of a scan are submitted by threads, those of the acceptance check by the main thread.
_INFER = """
import atexit, json, os, threading, time
from wmh_bench.timing.peak_memory import peak_resident_bytes
from wmh_runtime.backends.base import Backend
from wmh_runtime.cli.launcher import infer

first, submit = [], Backend.submit

def noted(self, slices):
    if not first and threading.current_thread() is not threading.main_thread():
        first.append(time.time() - float(os.environ["STARTED_S"]))
    return submit(self, slices)

def tell():
    if first:  # otherwise nothing was segmented
        print(json.dumps({"first_slice_s": first[0], "peak_bytes": peak_resident_bytes()}))

Backend.submit = noted
atexit.register(tell)
infer()
"""


@dataclass(frozen=True)
class RunOptions:
    """How scans are segmented, as options of `wmh-infer`."""

    bundle: str
    backend: str
    precision: str
    tta: str

    @property
    def name(self) -> str:
        """What a table calls the run."""
        return f"wmh-infer, {self.bundle}, {self.tta}, {self.backend} in {self.precision}"


@dataclass(frozen=True)
class TimedRun:
    """What a run took."""

    first_slice_s: float  # from the command to the first slice of a scan on the device
    seconds: float  # to the last file
    peak_bytes: int  # resident


def time_run(
    source: Path, out: Path, options: RunOptions, environment: Mapping[str, str] | None = None
) -> TimedRun:
    """Segment scans.

    Args:
        source: scan, folder or table.
        out: folder for the results, which must be new: kept results have no first slice.
        options: of the run.
        environment: variables besides those of this process.

    Raises:
        BackendError: the run failed, or segmented no slice.
    """
    arguments = ["--bundle", options.bundle, "--backend", options.backend]
    arguments += ["--precision", options.precision, "--tta", options.tta]
    started_s = time.time()
    done = subprocess.run(
        [sys.executable, "-c", _INFER, str(source), str(out), *arguments],
        env={**os.environ, "STARTED_S": repr(started_s), **(environment or {})},
        capture_output=True,
        text=True,
    )
    seconds = time.time() - started_s
    if done.returncode:
        raise BackendError(f"failed: {done.stderr.strip()}", about=options.bundle)
    try:
        told = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise BackendError("segmented no slice", about=options.bundle) from None
    return TimedRun(told["first_slice_s"], seconds, told["peak_bytes"])
