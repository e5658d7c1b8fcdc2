"""Measure the throughput of a run: a folder of scans, files to files, as in `wmh-infer`.

For comparison, the backend alone executes the slices of a scan repeatedly, before and after the
run. The difference in speed is the cost of the pipeline around it.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

import psutil
from pydantic import Field

from wmh_bench.environment import Environment, Model
from wmh_bench.timing.batch_times import batches_per_second
from wmh_bench.timing.peak_memory import peak_resident_bytes
from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cohort.job import Job, Progress
from wmh_runtime.cohort.local_engine import LocalEngine
from wmh_runtime.cohort.run import run
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.errors import InputError, InterruptionError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.inference.backend_factory import BackendOptions
from wmh_runtime.inference.backend_selection import open_backends
from wmh_runtime.inference.trace import Span, Stage
from wmh_runtime.machine import available_cores
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.precision import Precision
from wmh_runtime.preprocessing.preprocess import preprocess
from wmh_runtime.schema import StrictModel
from wmh_runtime.tta import VIEWS, Tta, first_views
from wmh_runtime.types import Floats

_BACKEND_ONLY_S = 10.0  # duration of the backend alone, before and after the run
_MAX_GAP_S = 0.005  # batches with a shorter gap between them are drawn as one


class Activity(StrictModel):
    """What a thread did without a gap. Seconds since the run started."""

    stage: Stage
    worker: str = Field(description="name of the thread")
    start_s: float
    end_s: float


class Throughput(StrictModel):
    """The result of `wmh-bench throughput`."""

    schema_version: Literal[2] = 2
    kind: Literal["throughput"] = "throughput"
    environment: Environment
    backend_description: str = Field(description="library, version and device")
    device: str
    precision: Precision
    tta: Tta
    batch_size: int = Field(description="slices per batch")
    threads: int = Field(description="CPU threads")
    scans: int
    slices: int = Field(description="of all scans")
    slices_executed: int = Field(description="the other slices show no head")
    slices_in_all_views: int = Field(description="the other executed slices: in one view")
    views_executed: int
    seconds: float = Field(description="from the start of the run to the last file")
    scans_per_hour: float
    views_per_s: float
    backend_only_views_per_s: list[float] = Field(
        description="of the backend alone, with the slices of one scan: before and after the run"
    )
    share_of_backend_only: float = Field(
        description="views_per_s / mean of backend_only_views_per_s"
    )
    backend_busy_share: float = Field(
        description="share of the run during which at least one batch was in flight"
    )
    seconds_per_scan: dict[str, float] = Field(description="mean by stage")
    peak_memory_mb: int = Field(description="peak resident memory of the process, 10⁶ bytes")
    memory_by_tenth_mb: list[int] = Field(
        description="resident memory when each tenth of the scans was finished"
    )
    timeline: list[Activity]


class _RunMonitor(Progress):
    """Keeps the sidecars, and the resident memory after each scan."""

    def __init__(self, on_scan: Callable[[], None]) -> None:
        self.sidecars: list[Sidecar] = []
        self.resident_mb: list[int] = []
        self._on_scan = on_scan

    def done(self, case: Case, sidecars: Sequence[Sidecar], *, kept: bool) -> None:  # noqa: ARG002
        self.sidecars.append(sidecars[0])
        self.resident_mb.append(round(psutil.Process().memory_info().rss / 1e6))
        self._on_scan()


def measure_throughput(
    bundle: Bundle,
    scans: Path,
    out: Path,
    backend: str,
    options: BackendOptions,
    tta: Tta,
    on_scan: Callable[[], None],
) -> Throughput:
    """Segment a folder of scans.

    Args:
        bundle: to run.
        scans: folder of scans; all must be usable.
        out: folder for the results; must be empty or not exist.
        backend: name, or `auto`.
        options: for the backend, on one device; its views are the first views of `tta`.
        tta: views of each slice.
        on_scan: called after each scan.

    Raises:
        BackendError: the backend cannot be used, or the execution failed.
        InputError: a scan cannot be used, the folder cannot be written, or it holds results.
    """
    found = discover(scans, out)
    cases = found.scans
    job = Job(found, out, bundle, bundle.manifest.outputs_of(tta), tta=tta)
    environment = Environment.describe(Model.from_bundle(bundle))
    monitor = _RunMonitor(on_scan)
    spans: list[Span] = []
    with open_backends(bundle, backend, options) as opened:
        (device,) = opened.backends
        slices = preprocess([read_scan(cases[0].path)], bundle.manifest.preprocessing).slices
        backend_only = [_views_per_second(device, slices, tta)]
        started_s = time.perf_counter()
        try:
            outcome = run(job, LocalEngine([device], spans.append), monitor)
        except InterruptionError as stop:
            raise InterruptionError("stopped", "Nothing was measured.") from stop
        ended_s = time.perf_counter()
        backend_only.append(_views_per_second(device, slices, tta))
        description = device.description
    for _, error in outcome.failed:
        raise error
    if outcome.kept:
        advice = "Give another output folder."
        raise InputError("holds results of an earlier run", advice, about=out)
    seconds = ended_s - started_s
    sidecars = monitor.sidecars
    executed = sum(sidecar.slices_executed for sidecar in sidecars)
    in_all_views = sum(sidecar.slices_in_all_views for sidecar in sidecars)
    views = executed + (len(VIEWS) - 1) * in_all_views
    count = len(sidecars)
    busy_s = sum(span.seconds for span in spans if span.stage == "predict")
    return Throughput(
        environment=environment,
        backend_description=description,
        device=device.device,
        precision=device.precision,
        tta=tta,
        batch_size=device.batch_size,
        threads=options.threads or available_cores(),
        scans=count,
        slices=sum(sidecar.slices for sidecar in sidecars),
        slices_executed=executed,
        slices_in_all_views=in_all_views,
        views_executed=views,
        seconds=round(seconds, 2),
        scans_per_hour=round(3600 * count / seconds, 2),
        views_per_s=round(views / seconds, 3),
        backend_only_views_per_s=[round(rate, 3) for rate in backend_only],
        share_of_backend_only=round(views / seconds / statistics.mean(backend_only), 4),
        backend_busy_share=round(busy_s / seconds, 4),
        seconds_per_scan=_seconds_per_scan(spans, count),
        peak_memory_mb=round(peak_resident_bytes() / 1e6),
        memory_by_tenth_mb=[
            monitor.resident_mb[-(-count * tenth // 10) - 1] for tenth in range(1, 11)
        ],
        timeline=_timeline(spans, started_s),
    )


def _views_per_second(backend: Backend, slices: Floats, tta: Tta) -> float:
    """Execute the slices of a scan repeatedly, with as many batches in flight as in a run."""
    endless, size = itertools.cycle(slices), backend.batch_size
    batches = iter(lambda: list(itertools.islice(endless, size)), [])
    return batches_per_second(backend, batches, _BACKEND_ONLY_S) * size * first_views(tta)


def _timeline(spans: Iterable[Span], started_s: float) -> list[Activity]:
    """Join the batches of a device without a gap between them. Sort by worker and time."""
    joined: defaultdict[tuple[str, Stage], list[list[float]]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.began_s):
        activities = joined[span.worker, span.stage]
        has_no_gap = bool(activities) and span.began_s - activities[-1][1] <= _MAX_GAP_S
        if span.stage == "predict" and has_no_gap:
            activities[-1][1] = span.ended_s
        else:
            activities.append([span.began_s, span.ended_s])
    return [
        Activity(
            stage=stage,
            worker=worker,
            start_s=round(start_s - started_s, 3),
            end_s=round(end_s - started_s, 3),
        )
        for (worker, stage), activities in sorted(joined.items())
        for start_s, end_s in activities
    ]


def _seconds_per_scan(spans: Iterable[Span], scans: int) -> dict[str, float]:
    """Return the mean duration of each stage of a scan, in the order of the stages."""
    seconds: dict[Stage, float] = dict.fromkeys(get_args(Stage), 0.0)
    for span in spans:
        seconds[span.stage] += span.seconds
    return {stage: round(total / scans, 4) for stage, total in seconds.items()}
