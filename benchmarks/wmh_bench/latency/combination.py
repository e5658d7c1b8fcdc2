"""Measure one combination of backend, precision, views and batch size."""

from __future__ import annotations

import importlib
import itertools
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from wmh_bench.ceilings.peak_specs import share_of_peak
from wmh_bench.latency.result import LatencyRow
from wmh_bench.machine import read_clock_mhz
from wmh_bench.selection import CPU_BACKEND_NAMES
from wmh_bench.timing.batch_times import GpuTimes, batches_per_second, time_single_batches
from wmh_bench.timing.gpu_timer import GpuTimer, timed_driver
from wmh_bench.timing.peak_memory import peak_resident_bytes
from wmh_bench.timing.times import Times
from wmh_runtime.backends.base import Backend
from wmh_runtime.backends.gpu.driver import device_type
from wmh_runtime.backends.onnx_graph import CpuBackend, OnnxBackend
from wmh_runtime.bundle.bundle import Bundle, load_bundle
from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.conformance.measure import measure_parity
from wmh_runtime.conformance.reference_outputs import load_reference_outputs
from wmh_runtime.inference.backend_factory import BackendOptions
from wmh_runtime.inference.backend_selection import build_unverified
from wmh_runtime.precision import Precision
from wmh_runtime.text import count_noun
from wmh_runtime.tta import Views
from wmh_runtime.types import Floats


@dataclass(frozen=True)
class Combination:
    """One combination to measure."""

    backend: str
    precision: Precision
    views: Views
    batch_size: int  # slices

    def __str__(self) -> str:
        views, slices = count_noun(self.views, "view"), count_noun(self.batch_size, "slice")
        return f"{self.backend} {self.precision}, {views}, {slices} per batch"


@dataclass(frozen=True)
class LatencyOptions:
    """How to measure."""

    min_duration_s: float  # of each measurement
    slices_per_scan: int
    threads: int | None  # CPU threads; None: one per core
    gpu_index: int


def measure_combination(
    folder: Path, combination: Combination, options: LatencyOptions, gflop_per_view: float
) -> LatencyRow:
    """Measure a combination. Call it in a new process: it reports the peak memory of the process.

    Args:
        folder: of the bundle.
        combination: to measure.
        options: how to measure.
        gflop_per_view: operations of the float32 graph.
    """
    bundle = load_bundle(folder)
    slices = load_reference_outputs(bundle).probes.slices
    batch = [slices[i % len(slices)] for i in range(combination.batch_size)]
    run = _measure_as_in_a_run(bundle, combination, options, batch)
    times, gpu_times = run.single_batches or _time_with_all_threads(
        bundle, combination, options, batch
    )
    backend, parity = run.backend, run.parity
    tflop_per_s = run.slices_per_s * combination.views * gflop_per_view / 1e3
    volume_percent = parity.volume_percent
    return LatencyRow(
        backend=combination.backend,
        backend_description=backend.description,
        device=backend.device,
        precision=combination.precision,
        views=combination.views,
        batch_size=combination.batch_size,
        load_s=run.load_s,
        first_batch_s=run.first_batch_s,
        times=times,
        gpu_times=gpu_times,
        num_streams=backend.num_streams,
        views_per_s=round(run.slices_per_s * combination.views, 3),
        slices_per_s=round(run.slices_per_s, 4),
        scans_per_hour=round(3600 * run.slices_per_s / options.slices_per_scan, 2),
        tflop_per_s=round(tflop_per_s, 4),
        share_of_matmul_ceiling=None,
        share_of_peak=share_of_peak(backend.device, combination.precision, tflop_per_s),
        clock_mhz=run.clock_mhz,
        host_memory_mb=run.host_memory_mb,
        device_memory_mb=run.device_memory_mb,
        mask_dice=round(parity.mask_dice, 5),
        volume_percent=None if math.isinf(volume_percent) else round(volume_percent, 3),
        max_abs_difference=float(f"{parity.max_abs_difference:.3g}"),
        refused=parity.violation,
        warnings=[*times.warnings, *(gpu_times.warnings if gpu_times else [])],
    )


@dataclass(frozen=True)
class _RunMeasurement:
    """What was measured with a backend that is opened as in a run."""

    backend: Backend  # closed
    load_s: float
    first_batch_s: float
    slices_per_s: float
    clock_mhz: float | None
    host_memory_mb: float
    device_memory_mb: float | None
    single_batches: tuple[Times, GpuTimes | None] | None  # None: a batch had a part of the threads
    parity: Parity


def _measure_as_in_a_run(
    bundle: Bundle, combination: Combination, options: LatencyOptions, batch: Sequence[Floats]
) -> _RunMeasurement:
    timer = GpuTimer()
    backend = _build(bundle, combination, options, timer)
    on_gpu = not isinstance(backend, CpuBackend)
    min_duration_s = options.min_duration_s
    with ExitStack() as stack:
        read_free_bytes = _free_bytes_reader(backend, options, stack)
        free_bytes_before = read_free_bytes()
        started_s = time.perf_counter()
        stack.enter_context(backend)
        loaded_s = time.perf_counter()
        backend.execute(batch)
        executed_s = time.perf_counter()
        rate = batches_per_second(backend, itertools.repeat(batch), min_duration_s)
        clock_mhz = read_clock_mhz(options.gpu_index if on_gpu else None)
        host_bytes = peak_resident_bytes()
        device_bytes = free_bytes_before - read_free_bytes()
        single_batches = (
            time_single_batches(backend, batch, timer, min_duration_s)
            if backend.num_streams == 1
            else None
        )
        parity = measure_parity(load_reference_outputs(bundle), backend, combination.views)
    return _RunMeasurement(
        backend=backend,
        load_s=round(loaded_s - started_s, 3),
        first_batch_s=round(executed_s - loaded_s, 4),
        slices_per_s=combination.batch_size * rate,
        clock_mhz=clock_mhz,
        host_memory_mb=round(host_bytes / 1e6),
        device_memory_mb=round(device_bytes / 1e6, 1) if on_gpu else None,
        single_batches=single_batches,
        parity=parity,
    )


def _time_with_all_threads(
    bundle: Bundle, combination: Combination, options: LatencyOptions, batch: Sequence[Floats]
) -> tuple[Times, GpuTimes | None]:
    """Time single batches that use all threads of the CPU."""
    timer = GpuTimer()
    with _build(bundle, combination, options, timer, num_streams=1) as backend:
        return time_single_batches(backend, batch, timer, options.min_duration_s)


def _build(
    bundle: Bundle,
    combination: Combination,
    options: LatencyOptions,
    timer: GpuTimer,
    num_streams: int | None = None,
) -> Backend:
    """Build a backend and import its library, so that the import is not part of the load time."""
    on_cpu = combination.backend in CPU_BACKEND_NAMES
    backend_options = BackendOptions(
        views=combination.views,
        precision=combination.precision,
        batch_size=combination.batch_size,
        threads=options.threads if on_cpu else None,
        gpus=() if on_cpu else (options.gpu_index,),
        driver=None if on_cpu else timed_driver(device_type(), timer),
        num_streams=num_streams,
    )
    (backend,) = build_unverified(bundle, combination.backend, backend_options)
    if isinstance(backend, OnnxBackend):
        importlib.import_module(backend.library)
    return backend


def _free_bytes_reader(
    backend: Backend, options: LatencyOptions, stack: ExitStack
) -> Callable[[], int]:
    """Return a function that reads the free memory of the GPU; on a CPU it returns 0."""
    if isinstance(backend, CpuBackend):
        return lambda: 0
    device = stack.enter_context(closing(device_type()(options.gpu_index)))

    def read_free_bytes() -> int:
        with device.activate():
            return device.free_bytes()

    return read_free_bytes
