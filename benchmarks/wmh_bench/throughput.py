"""Files to files: a folder of scans as `wmh-infer` runs it, and what its threads do meanwhile.

Beside it stands what the device does alone, with the same slices again and again, before and after:
what is missing to it is the pipeline's.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import psutil
from pydantic import Field

from wmh_bench.environment import Circumstances, Model
from wmh_bench.timing.batch_times import batches_per_s
from wmh_bench.timing.peak_memory import peak_resident_bytes
from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cohort.runner import Job, Progress, run
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.errors import InputError, InterruptionError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.inference.backend_selection import BackendOptions, open_backends
from wmh_runtime.inference.trace import Span, Stage
from wmh_runtime.machine import available_cores
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.precision import Precision
from wmh_runtime.preprocessing.preprocess import preprocess
from wmh_runtime.schema import StrictModel
from wmh_runtime.tta import VIEWS, Tta, first_views
from wmh_runtime.types import Floats

_ALONE_S = 10.0  # that the device is timed alone, before and after
_SAME_STRETCH_S = 0.005  # a shorter pause is none


class Stretch(StrictModel):
    """What a thread did without a pause. Seconds since the run began."""

    stage: Stage
    worker: str
    began_s: float
    ended_s: float


class Throughput(StrictModel):
    """The measurement."""

    schema_version: Literal[1] = 1
    kind: Literal["throughput"] = "throughput"
    circumstances: Circumstances
    executes: str = Field(description="the backend with its version, and the device")
    device: str
    precision: Precision
    tta: Tta
    batch: int = Field(description="slices at a time")
    threads: int = Field(description="of the processor")
    scans: int
    slices: int = Field(description="that the scans have")
    slices_executed: int
    slices_in_all_views: int
    views: int = Field(description="executed")
    seconds: float = Field(description="of the run, from its start to the last file")
    scans_per_hour: float
    views_per_s: float
    views_per_s_alone: list[float] = Field(
        description="of the device with the slices of a scan again and again, before and after"
    )
    share_of_alone: float = Field(description="views_per_s over the mean of views_per_s_alone")
    batch_under_way: float = Field(description="share of the run that a batch was executed or due")
    seconds_a_scan: dict[str, float] = Field(description="mean by step, of the thread that did it")
    peak_memory_mb: int = Field(description="10⁶ bytes resident, of this process")
    memory_mb: list[int] = Field(description="resident when each tenth of the scans was finished")
    timeline: list[Stretch]


class _Watching(Progress):
    """Keeps what is said, and the memory at the time."""

    def __init__(self, on_scan: Callable[[], None]) -> None:
        self.records: list[Sidecar] = []
        self.resident_mb: list[int] = []
        self._on_scan = on_scan

    def done(self, scan: Case, records: Sequence[Sidecar], *, kept: bool) -> None:  # noqa: ARG002
        self.records.append(records[0])
        self.resident_mb.append(round(psutil.Process().memory_info().rss / 1e6))
        self._on_scan()


def measure_throughput(
    bundle: Bundle,
    scans: Path,
    out: Path,
    backend: str,
    wanted: BackendOptions,
    tta: Tta,
    on_scan: Callable[[], None],
) -> Throughput:
    """Segment a folder of scans.

    Args:
        bundle: to run.
        scans: to segment; all must be usable.
        out: folder for the results, empty or not there.
        backend: name, or `auto`.
        wanted: what it shall do, on one device; its views are those that `tta` begins with.
        tta: views of each slice.
        on_scan: called after each scan.

    Raises:
        BackendError: the backend cannot be used, or the execution failed.
        InputError: a scan cannot be used, or the folder not be written to, or it holds results.
    """
    found = discover(scans, out).scans
    job = Job(found, out, bundle, bundle.manifest.outputs_of(tta), tta=tta)
    circumstances = Circumstances.of(Model.of(bundle))
    watching = _Watching(on_scan)
    spans: list[Span] = []
    with open_backends(bundle, backend, wanted) as opened:
        (device,) = opened.backends
        slices = preprocess([read_scan(found[0].path)], bundle.manifest.preprocessing).slices
        alone = [_views_per_s(device, slices, tta)]
        began_s = time.perf_counter()
        try:
            outcome = run(job, [device], watching, spans.append)
        except InterruptionError as stop:
            raise InterruptionError("stopped", "Nothing was measured.") from stop
        ended_s = time.perf_counter()
        alone.append(_views_per_s(device, slices, tta))
        executes = device.description
    for _, error in outcome.failed:
        raise error
    if outcome.kept:
        advice = "Give another --out."
        raise InputError("holds finished results, which take no time", advice, about=out)
    seconds = ended_s - began_s
    records = watching.records
    executed = sum(record.slices_executed for record in records)
    in_all_views = sum(record.slices_in_all_views for record in records)
    views = executed + (len(VIEWS) - 1) * in_all_views
    count = len(records)
    under_way_s = sum(span.seconds for span in spans if span.stage == "execute")
    return Throughput(
        circumstances=circumstances,
        executes=executes,
        device=device.device,
        precision=device.precision,
        tta=tta,
        batch=device.batch_size,
        threads=wanted.threads or available_cores(),
        scans=count,
        slices=sum(record.slices for record in records),
        slices_executed=executed,
        slices_in_all_views=in_all_views,
        views=views,
        seconds=round(seconds, 2),
        scans_per_hour=round(3600 * count / seconds, 2),
        views_per_s=round(views / seconds, 3),
        views_per_s_alone=[round(rate, 3) for rate in alone],
        share_of_alone=round(views / seconds / statistics.mean(alone), 4),
        batch_under_way=round(under_way_s / seconds, 4),
        seconds_a_scan=_seconds_a_scan(spans, records),
        peak_memory_mb=round(peak_resident_bytes() / 1e6),
        memory_mb=[watching.resident_mb[-(-count * tenth // 10) - 1] for tenth in range(1, 11)],
        timeline=_timeline(spans, began_s),
    )


def _views_per_s(backend: Backend, slices: Floats, tta: Tta) -> float:
    """Execute the slices of a scan again and again, as a run does."""
    endless, size = itertools.cycle(slices), backend.batch_size
    batches = iter(lambda: list(itertools.islice(endless, size)), [])
    return batches_per_s(backend, batches, _ALONE_S) * size * first_views(tta)


def _timeline(spans: Iterable[Span], began_s: float) -> list[Stretch]:
    """Join what a worker did without a pause, by worker and time."""
    joined: defaultdict[tuple[str, Stage], list[list[float]]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.began_s):
        stretches = joined[span.worker, span.stage]
        goes_on = bool(stretches) and span.began_s - stretches[-1][1] <= _SAME_STRETCH_S
        if span.stage == "execute" and goes_on:
            stretches[-1][1] = span.ended_s
        else:
            stretches.append([span.began_s, span.ended_s])
    return [
        Stretch(
            stage=stage,
            worker=worker,
            began_s=round(start - began_s, 3),
            ended_s=round(end - began_s, 3),
        )
        for (worker, stage), stretches in sorted(joined.items())
        for start, end in stretches
    ]


def _seconds_a_scan(spans: Iterable[Span], records: Sequence[Sidecar]) -> dict[str, float]:
    """Say how long a scan takes in each step, and in what none of the steps of its record is."""
    in_stage: defaultdict[Stage, float] = defaultdict(float)
    in_step: defaultdict[str, float] = defaultdict(float)
    for span in spans:
        in_stage[span.stage] += span.seconds
    for record in records:
        for step, seconds in record.seconds.items():
            in_step[step] += seconds
    steps = {
        "read": in_stage["prepare"] - in_step["prepare"],
        "prepare": in_step["prepare"],
        "execute": in_stage["execute"],
        "restore": in_step["restore"],
        "lesions": in_step["lesions"],
        "write": in_stage["finish"] - in_step["restore"] - in_step["lesions"],
    }
    return {step: round(seconds / len(records), 4) for step, seconds in steps.items()}
