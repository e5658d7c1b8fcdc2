"""Files to files: a folder of scans through the runtime, beside what its device does alone."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from wmh_bench.machine import Machine, this_machine
from wmh_bench.peak_memory import peak_resident_bytes
from wmh_runtime.backends.graph import ProcessorBackend
from wmh_runtime.bundle import Bundle
from wmh_runtime.cohort import Job, Progress, run
from wmh_runtime.discovery import Found, discover
from wmh_runtime.prepare import prepare
from wmh_runtime.record import Record
from wmh_runtime.scan import read_scan
from wmh_runtime.strict import Strict
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import Floats, Precision, Tta, first_views

_ALONE_S = 10.0  # that the device is timed alone, before and after


class CohortSpeed(Strict):
    """The measurement."""

    machine: Machine
    bundle: str
    model_id: str
    backend: str
    precision: Precision
    tta: Tta
    scans: int
    slices: int  # that the scans have
    slices_executed: int
    slices_in_all_views: int
    views: int  # executed
    seconds: float  # of the run, start to end, the device open
    scans_a_second: float
    views_a_second: float
    views_a_second_alone: float  # of the device, with the same slices again and again
    share_of_alone: float
    peak_memory_mb: int  # 10⁶ bytes resident, of this process
    memory_mb: list[int]  # resident when each tenth of the scans was finished


class _Watching(Progress):
    """Keeps what is said, and the memory at the time."""

    def __init__(self, on_scan: Callable[[], None]) -> None:
        self.records: list[Record] = []
        self.resident_mb: list[int] = []
        self._on_scan = on_scan

    def done(self, scan: Found, records: Sequence[Record], *, kept: bool) -> None:  # noqa: ARG002
        self.records.append(records[0])
        self.resident_mb.append(round(psutil.Process().memory_info().rss / 1e6))
        self._on_scan()


def measure_cohort_speed(
    bundle: Bundle,
    scans: Path,
    out: Path,
    backend: type[ProcessorBackend],
    precision: Precision,
    tta: Tta,
    on_scan: Callable[[], None],
) -> CohortSpeed:
    """Segment a folder of scans.

    Args:
        bundle: to run.
        scans: to segment; all must be usable.
        out: folder for the results, empty or not there.
        backend: to execute with.
        precision: to execute in.
        tta: views of each slice.
        on_scan: called after each scan.

    Raises:
        BackendError: the execution failed.
        InputError: a scan cannot be used, or the folder not be written to.
    """
    job = Job(discover(scans, out).scans, out, bundle, bundle.manifest.outputs_of(tta), tta=tta)
    watching = _Watching(on_scan)
    with backend.of_bundle(bundle, views=first_views(tta), precision=precision) as opened:
        slices = prepare([read_scan(job.scans[0].path)], bundle.manifest.preparation).slices
        alone = [_slices_a_second(opened, slices)]
        started = time.perf_counter()
        outcome = run(job, [opened], watching)
        seconds = time.perf_counter() - started
        alone.append(_slices_a_second(opened, slices))
    for _, error in outcome.failed:
        raise error
    executed = sum(record.slices_executed for record in watching.records)
    in_all_views = sum(record.slices_in_all_views for record in watching.records)
    views = executed + (len(VIEWS) - 1) * in_all_views
    views_alone = statistics.mean(alone) * first_views(tta)
    count = len(watching.records)
    return CohortSpeed(
        machine=this_machine(),
        bundle=bundle.manifest.name,
        model_id=bundle.manifest.model_id,
        backend=opened.description,
        precision=precision,
        tta=tta,
        scans=count,
        slices=sum(record.slices for record in watching.records),
        slices_executed=executed,
        slices_in_all_views=in_all_views,
        views=views,
        seconds=round(seconds, 2),
        scans_a_second=round(count / seconds, 4),
        views_a_second=round(views / seconds, 3),
        views_a_second_alone=round(views_alone, 3),
        share_of_alone=round(views / seconds / views_alone, 3),
        peak_memory_mb=round(peak_resident_bytes() / 1e6),
        memory_mb=[watching.resident_mb[-(-count * tenth // 10) - 1] for tenth in range(1, 11)],
    )


def _slices_a_second(backend: ProcessorBackend, slices: Floats) -> float:
    """Execute slices again and again, as many at a time as the backend takes."""
    started = time.perf_counter()

    def coming() -> Iterator[list[Floats]]:
        for one in itertools.cycle(slices):
            if time.perf_counter() - started >= _ALONE_S:
                return
            yield [one]

    executed = sum(1 for _ in backend.execute_all(coming()))
    return executed / (time.perf_counter() - started)
