"""How fast a bundle is executed here, and how true: by every backend, precision, views and batch.

Each combination has a process of its own, so that its peak of memory is its own and what it leaves
disturbs no other. A batch is timed alone, from slices in host memory to probabilities in host
memory; slices a second are counted with as many batches under way as a run has.
"""

from __future__ import annotations

import importlib
import itertools
import math
import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field

from wmh_bench.ceilings.matmul_ceiling import MULTIPLIERS, Ceiling, compared_with, measure_ceiling
from wmh_bench.ceilings.peak_specs import share_of_peak
from wmh_bench.environment import Circumstances, Model
from wmh_bench.machine import clock_of
from wmh_bench.selection import ON_PROCESSORS, ways_of
from wmh_bench.timing.batch_times import Parts, batches_per_s, time_alone
from wmh_bench.timing.peak_memory import peak_resident_bytes
from wmh_bench.timing.times import Times
from wmh_bench.timing.timing_device import Marks, timing
from wmh_runtime.backends.base import Backend
from wmh_runtime.backends.gpu.driver import device_type
from wmh_runtime.backends.onnx_graph import CpuBackend, OnnxBackend
from wmh_runtime.bundle.bundle import Bundle, open_bundle
from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.conformance.measure import measure_parity
from wmh_runtime.conformance.reference_outputs import load_reference_outputs
from wmh_runtime.errors import NoGpuError, NotInstalledError, WmhError
from wmh_runtime.inference.backend_selection import BackendOptions, build_unverified
from wmh_runtime.machine import available_cores
from wmh_runtime.precision import Precision
from wmh_runtime.schema import StrictModel
from wmh_runtime.text import count_noun
from wmh_runtime.tta import Views
from wmh_runtime.types import Floats


@dataclass(frozen=True)
class Combination:
    """One way to execute a bundle."""

    backend: str
    precision: Precision
    views: Views
    batch: int  # slices

    def __str__(self) -> str:
        views, slices = count_noun(self.views, "view"), count_noun(self.batch, "slice")
        return f"{self.backend} {self.precision}, {views}, {slices} at a time"


@dataclass(frozen=True)
class How:
    """How to measure."""

    least_s: float  # that a combination is timed at least
    slices_a_scan: int
    threads: int | None  # of processors; None: one a core
    gpu: int


class LatencyRow(StrictModel):
    """One way to execute a bundle, measured."""

    backend: str
    executes: str = Field(description="the backend with its version, and the device")
    device: str = Field(description="`cpu`, or the name of the GPU")
    precision: Precision
    views: Views
    batch: int = Field(description="slices at a time")
    load_s: float = Field(description="opening the network, its library being imported")
    first_s: float = Field(description="the first batch after it")
    times: Times = Field(description="of a batch alone on the whole device, from host to host")
    parts: Parts | None = Field(description="of it, on GPUs")
    num_streams: int = Field(description="batches that a run executes at the same time")
    views_per_s: float = Field(description="with as many batches under way as a run has")
    slices_per_s: float = Field(description="likewise")
    scans_per_hour: float = Field(description="likewise; executing alone, no reading or writing")
    tflop_per_s: float = Field(description="of the float32 graph's operations, whatever executes")
    share_of_products: float | None = Field(
        description="of what matrix products in this precision reached on this device before it"
    )
    share_of_peak: float | None = Field(description="of the device's peak on paper, where known")
    clock_mhz: float | None = Field(description="of the GPU or the processor, just after it")
    host_memory_mb: float = Field(description="peak, 10⁶ bytes resident, of its own process")
    device_memory_mb: float | None = Field(
        description="of a GPU, 10⁶ bytes: what was taken of its free memory, context apart"
    )
    mask_dice: float = Field(description="with the trained network, on the bundle's slices")
    volume_percent: float | None = Field(description="off the network's; null where that is 0")
    max_abs_difference: float = Field(description="of probability, from the network")
    refused: str = Field(description="why wmh-infer would refuse it; empty: it would not")
    warnings: list[str]


class Latency(StrictModel):
    """The measurement."""

    schema_version: Literal[1] = 1
    kind: Literal["latency"] = "latency"
    circumstances: Circumstances
    least_s: float = Field(description="that each is timed")
    slices_a_scan: int = Field(description="of the scans that are counted by the hour")
    threads: int = Field(description="of the processor")
    gpu: int = Field(description="number of the GPU")
    rows: list[LatencyRow]
    ceilings: list[Ceiling]
    skipped: dict[str, str] = Field(description="what could not be measured, and why")


@dataclass(frozen=True)
class Refusal:
    """Why something was not measured."""

    reason: str
    is_of_backend: bool = False  # not here at all: nothing else of it needs to be tried


Result = TypeVar("Result")


def combinations(
    backends: Iterable[str],
    precisions: Sequence[Precision],
    views: Sequence[Views],
    batches: Sequence[int],
) -> list[Combination]:
    """Combine them, but for precisions that a backend never has.

    Args:
        backends: names; none: all.
        precisions: none: all.
        views: of the graphs.
        batches: slices at a time; none: one on processors, one and four on GPUs.
    """
    return [
        Combination(name, precision, count, batch)
        for name, precision in ways_of(backends, precisions)
        for count in views
        for batch in batches or ((1,) if name in ON_PROCESSORS else (1, 4))
    ]


def measure_latency(
    bundle: Bundle,
    ways: Sequence[Combination],
    how: How,
    on_result: Callable[[Latency, Ceiling | LatencyRow | Refusal], None],
) -> Latency:
    """Execute a bundle in all ways, one after another.

    Args:
        bundle: verified.
        ways: to execute it.
        how: to measure.
        on_result: is told what there is so far, and the last of it.
    """
    measured = Latency(
        circumstances=Circumstances.of(Model.of(bundle)),
        least_s=how.least_s,
        slices_a_scan=how.slices_a_scan,
        threads=how.threads or available_cores(),
        gpu=how.gpu,
        rows=[],
        ceilings=[],
        skipped={},
    )
    gflop_a_view = measured.circumstances.model.gflop_a_view
    absent: set[str] = set()

    def skip(what: str, backend: str, refusal: Refusal) -> None:
        if refusal.is_of_backend:
            absent.add(backend)
        measured.skipped[backend if refusal.is_of_backend else what] = refusal.reason
        on_result(measured, refusal)

    for backend, precision in dict.fromkeys((way.backend, way.precision) for way in ways):
        if backend in MULTIPLIERS and backend not in absent:
            ceiling = _apart(measure_ceiling, backend, precision, how.threads, how.gpu)
            if isinstance(ceiling, Refusal):
                skip(f"matrix products, {backend} {precision}", backend, ceiling)
            else:
                measured.ceilings.append(ceiling)
                on_result(measured, ceiling)
    for way in ways:
        if way.backend not in absent:
            found = _apart(_measure, bundle.folder, way, how, gflop_a_view)
            if isinstance(found, Refusal):
                skip(str(way), way.backend, found)
            else:
                row = _beside_products(found, measured.ceilings)
                measured.rows.append(row)
                on_result(measured, row)
    return measured


def _apart(function: Callable[..., Result], *arguments: object) -> Result | Refusal:
    """Call a function in a process of its own, whose end is a refusal and no more."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        try:
            return process.submit(_told, function, *arguments).result()
        except BrokenProcessPool:
            return Refusal("its process was ended: too little memory, or a fault of a library")


def _told(function: Callable[..., Result], *arguments: object) -> Result | Refusal:
    """Call a function; tell its errors as refusals, since not all pass between processes."""
    try:
        return function(*arguments)
    except (NotInstalledError, NoGpuError) as error:
        return Refusal(_without_paths(error), is_of_backend=True)
    except WmhError as error:
        return Refusal(_without_paths(error))
    except Exception as error:  # of a library: the others are measured all the same
        first_line = str(error).strip().partition("\n")[0]
        return Refusal(f"{type(error).__name__}: {first_line}")


def _without_paths(error: WmhError) -> str:
    """Tell an error without what it is about, which may be a path of the user's."""
    return " ".join(filter(None, (f"{error.problem}.", error.remedy)))


def _beside_products(row: LatencyRow, ceilings: Sequence[Ceiling]) -> LatencyRow:
    """Compare a row with the best of all backends on its device in its precision."""
    precision = compared_with(row.precision)
    best = max(
        (c.tflop_per_s for c in ceilings if (c.device, c.precision) == (row.device, precision)),
        default=None,
    )
    share = None if best is None else round(row.tflop_per_s / best, 4)
    return row.model_copy(update={"share_of_products": share})


def _measure(folder: Path, way: Combination, how: How, gflop_a_view: float) -> LatencyRow:
    """Measure one combination, in a process that did nothing else."""
    bundle = open_bundle(folder)
    slices = load_reference_outputs(bundle).questions.slices
    batch = [slices[i % len(slices)] for i in range(way.batch)]
    as_in_a_run = _as_in_a_run(bundle, way, how, batch)
    times, parts = as_in_a_run.alone or _alone(bundle, way, how, batch)
    backend, parity = as_in_a_run.backend, as_in_a_run.parity
    slices_per_s = as_in_a_run.slices_per_s
    tflop_per_s = slices_per_s * way.views * gflop_a_view / 1e3
    off_percent = parity.volume_percent
    return LatencyRow(
        backend=way.backend,
        executes=backend.description,
        device=backend.device,
        precision=way.precision,
        views=way.views,
        batch=way.batch,
        load_s=as_in_a_run.load_s,
        first_s=as_in_a_run.first_s,
        times=times,
        parts=parts,
        num_streams=backend.num_streams,
        views_per_s=round(slices_per_s * way.views, 3),
        slices_per_s=round(slices_per_s, 4),
        scans_per_hour=round(3600 * slices_per_s / how.slices_a_scan, 2),
        tflop_per_s=round(tflop_per_s, 4),
        share_of_products=None,
        share_of_peak=share_of_peak(backend.device, way.precision, tflop_per_s),
        clock_mhz=as_in_a_run.clock_mhz,
        host_memory_mb=as_in_a_run.host_memory_mb,
        device_memory_mb=as_in_a_run.device_memory_mb,
        mask_dice=round(parity.mask_dice, 5),
        volume_percent=None if math.isinf(off_percent) else round(off_percent, 3),
        max_abs_difference=float(f"{parity.max_abs_difference:.3g}"),
        refused=parity.shortfall,
        warnings=[*times.warnings, *(parts.warnings if parts else [])],
    )


@dataclass(frozen=True)
class _AsInARun:
    """What was found with a backend opened as a run opens it."""

    backend: Backend  # closed
    load_s: float
    first_s: float
    slices_per_s: float
    clock_mhz: float | None
    host_memory_mb: float
    device_memory_mb: float | None
    alone: tuple[Times, Parts | None] | None  # None where a lone batch has not all of the device
    parity: Parity


def _as_in_a_run(bundle: Bundle, way: Combination, how: How, batch: Sequence[Floats]) -> _AsInARun:
    marks = Marks()
    backend = _backend(bundle, way, how, marks)
    on_gpu = not isinstance(backend, CpuBackend)
    with ExitStack() as stack:
        free_bytes = _free_bytes(backend, how, stack)
        before_bytes = free_bytes()
        started = time.perf_counter()
        stack.enter_context(backend)
        opened = time.perf_counter()
        backend.execute(batch)
        executed = time.perf_counter()
        per_s = batches_per_s(backend, itertools.repeat(batch), how.least_s)
        clock_mhz = clock_of(how.gpu if on_gpu else None)
        host_bytes, taken_bytes = peak_resident_bytes(), before_bytes - free_bytes()
        has_all = backend.num_streams == 1
        alone = time_alone(backend, batch, marks, how.least_s) if has_all else None
        parity = measure_parity(load_reference_outputs(bundle), backend, way.views)
    return _AsInARun(
        backend=backend,
        load_s=round(opened - started, 3),
        first_s=round(executed - opened, 4),
        slices_per_s=way.batch * per_s,
        clock_mhz=clock_mhz,
        host_memory_mb=round(host_bytes / 1e6),
        device_memory_mb=round(taken_bytes / 1e6, 1) if on_gpu else None,
        alone=alone,
        parity=parity,
    )


def _alone(
    bundle: Bundle, way: Combination, how: How, batch: Sequence[Floats]
) -> tuple[Times, Parts | None]:
    """Time a batch that has all threads of the processor to itself."""
    marks = Marks()
    with _backend(bundle, way, how, marks, num_streams=1) as backend:
        return time_alone(backend, batch, marks, how.least_s)


def _backend(
    bundle: Bundle, way: Combination, how: How, marks: Marks, num_streams: int | None = None
) -> Backend:
    """Make a backend; its library is imported, so that opening takes no time for that."""
    on_processor = way.backend in ON_PROCESSORS
    wanted = BackendOptions(
        views=way.views,
        precision=way.precision,
        batch_size=way.batch,
        threads=how.threads if on_processor else None,
        gpus=() if on_processor else (how.gpu,),
        driver=None if on_processor else timing(device_type(), marks),
        num_streams=num_streams,
    )
    (backend,) = build_unverified(bundle, way.backend, wanted)
    if isinstance(backend, OnnxBackend):
        importlib.import_module(backend.library)
    return backend


def _free_bytes(backend: Backend, how: How, stack: ExitStack) -> Callable[[], int]:
    """Return what tells the free memory of the backend's GPU; always 0 on a processor."""
    if isinstance(backend, CpuBackend):
        return lambda: 0
    device = stack.enter_context(closing(device_type()(how.gpu)))

    def free_bytes() -> int:
        with device.current():
            return device.free_bytes()

    return free_bytes
