"""How long a device waits for the rest: a run over scans whose device only sleeps.

It takes a fixed time for every slice and computes nothing, so all that the run takes beyond it is
the pipeline's: reading, preparing, finishing and writing that did not happen meanwhile.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from wmh_bench.machine import Machine, this_machine
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cohort.runner import Job, Progress, run
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.schema import StrictModel
from wmh_runtime.types import Floats, NetworkShape


class DeviceWaits(StrictModel):
    """The measurement."""

    machine: Machine
    scans: int
    slices: int
    seconds_a_slice: float  # that the device sleeps
    seconds_device: float  # all of them
    seconds_run: float  # from the device's first slice to the last file
    ratio: float


class SleepingBackend(FakeBackend):
    """Takes its time, and calls bright what is bright."""

    def __init__(self, shape: NetworkShape, seconds_a_slice: float) -> None:
        super().__init__(shape)
        self._seconds = seconds_a_slice
        self.began = 0.0

    def _execute(self, batch: Floats) -> Floats:
        started = time.perf_counter()
        self.began = self.began or started
        given = super()._execute(batch)
        time.sleep(max(0.0, self._seconds - (time.perf_counter() - started)))
        return given


def measure_device_waits(bundle: Bundle, scans: Path, seconds_a_slice: float) -> DeviceWaits:
    """Run over a folder of scans.

    Args:
        bundle: whose preprocessing and outputs are used.
        scans: at least one.
        seconds_a_slice: that the device takes.

    Raises:
        InputError: a scan cannot be used.
    """
    backend = SleepingBackend(bundle.manifest.network_shape, seconds_a_slice)
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        job = Job(discover(scans, out).scans, out, bundle, bundle.manifest.outputs)
        with backend:
            outcome = run(job, [backend], Progress())
        ended = time.perf_counter()
    for _, error in outcome.failed:
        raise error
    device_s = backend.batches_executed * seconds_a_slice
    run_s = ended - backend.began
    return DeviceWaits(
        machine=this_machine(),
        scans=len(job.scans),
        slices=backend.batches_executed,
        seconds_a_slice=seconds_a_slice,
        seconds_device=round(device_s, 2),
        seconds_run=round(run_s, 2),
        ratio=round(run_s / device_s, 3),
    )
