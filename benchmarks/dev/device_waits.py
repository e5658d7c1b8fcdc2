"""Measure how long a device waits for the pipeline, with a device that only sleeps.

The device takes a fixed time for each slice and computes nothing. All that the run takes beyond
this time was spent reading, preprocessing, postprocessing and writing while the device was idle.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from wmh_bench.machine import Machine, describe_machine
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cohort.job import Job, Progress
from wmh_runtime.cohort.local_engine import LocalEngine
from wmh_runtime.cohort.run import run
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.schema import StrictModel
from wmh_runtime.types import Floats, NetworkShape


class DeviceWaits(StrictModel):
    """The measurement."""

    machine: Machine
    scans: int
    slices: int
    seconds_per_slice: float  # that the device sleeps
    device_seconds: float  # for all slices
    run_seconds: float  # from the first slice on the device to the last file
    ratio: float  # run_seconds / device_seconds


class SleepingBackend(FakeBackend):
    """Sleeps for each slice; bright pixels are lesions."""

    def __init__(self, shape: NetworkShape, seconds_per_slice: float) -> None:
        super().__init__(shape)
        self._seconds_per_slice = seconds_per_slice
        self.started_s = 0.0

    def _execute(self, batch: Floats) -> Floats:
        started_s = time.perf_counter()
        self.started_s = self.started_s or started_s
        outputs = super()._execute(batch)
        elapsed_s = time.perf_counter() - started_s
        time.sleep(max(0.0, self._seconds_per_slice - elapsed_s))
        return outputs


def measure_device_waits(bundle: Bundle, scans: Path, seconds_per_slice: float) -> DeviceWaits:
    """Run a folder of scans.

    Args:
        bundle: its preprocessing and outputs are used.
        scans: folder with at least one scan.
        seconds_per_slice: time of the device.

    Raises:
        InputError: a scan cannot be used.
    """
    backend = SleepingBackend(bundle.manifest.network_shape, seconds_per_slice)
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        job = Job(discover(scans, out), out, bundle, bundle.manifest.outputs)
        with backend:
            outcome = run(job, LocalEngine([backend]), Progress())
        ended_s = time.perf_counter()
    for _, error in outcome.failed:
        raise error
    device_s = backend.batches_executed * seconds_per_slice
    run_s = ended_s - backend.started_s
    return DeviceWaits(
        machine=describe_machine(),
        scans=len(job.cases),
        slices=backend.batches_executed,
        seconds_per_slice=seconds_per_slice,
        device_seconds=round(device_s, 2),
        run_seconds=round(run_s, 2),
        ratio=round(run_s / device_s, 3),
    )
