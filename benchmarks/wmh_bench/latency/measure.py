"""Measure all combinations of backend, precision, views and batch size, one after another.

Each combination runs in a new process. So its peak memory can be measured, and it does not affect
the other combinations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from wmh_bench.ceilings.matmul_ceiling import (
    MATMUL_BACKENDS,
    Ceiling,
    ceiling_precision,
    measure_ceiling,
)
from wmh_bench.environment import Environment, Model
from wmh_bench.latency.combination import Combination, LatencyOptions, measure_combination
from wmh_bench.latency.isolated import Failure, call_in_process
from wmh_bench.latency.result import Latency, LatencyRow
from wmh_bench.selection import CPU_BACKEND_NAMES, select_backend_precisions
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.machine import available_cores
from wmh_runtime.precision import Precision
from wmh_runtime.tta import Views

_CPU_BATCH_SIZES, _GPU_BATCH_SIZES = (1,), (1, 4)


def list_combinations(
    backends: Iterable[str],
    precisions: Sequence[Precision],
    views: Sequence[Views],
    batch_sizes: Sequence[int],
) -> list[Combination]:
    """Return all combinations, without precisions that a backend does not have.

    Args:
        backends: names; empty: all.
        precisions: empty: all.
        views: of the graphs.
        batch_sizes: in slices; empty: 1 on CPUs, 1 and 4 on GPUs.
    """
    return [
        Combination(name, precision, count, batch_size)
        for name, precision in select_backend_precisions(backends, precisions)
        for count in views
        for batch_size in batch_sizes
        or (_CPU_BATCH_SIZES if name in CPU_BACKEND_NAMES else _GPU_BATCH_SIZES)
    ]


def measure_latency(
    bundle: Bundle,
    combinations: Sequence[Combination],
    options: LatencyOptions,
    on_result: Callable[[Latency, Ceiling | LatencyRow | Failure], None],
) -> Latency:
    """Measure a bundle in all combinations.

    Args:
        bundle: verified.
        combinations: to measure.
        options: how to measure.
        on_result: called after each step with the result so far and its newest part.
    """
    result = Latency(
        environment=Environment.describe(Model.from_bundle(bundle)),
        min_duration_s=options.min_duration_s,
        slices_per_scan=options.slices_per_scan,
        threads=options.threads or available_cores(),
        gpu_index=options.gpu_index,
        rows=[],
        ceilings=[],
        skipped={},
    )
    gflop_per_view = result.environment.model.gflop_per_view
    missing_backends: set[str] = set()

    def skip(name: str, backend: str, failure: Failure) -> None:
        if failure.is_backend_missing:
            missing_backends.add(backend)
        result.skipped[backend if failure.is_backend_missing else name] = failure.reason
        on_result(result, failure)

    for backend, precision in dict.fromkeys((one.backend, one.precision) for one in combinations):
        if backend in MATMUL_BACKENDS and backend not in missing_backends:
            ceiling = call_in_process(
                measure_ceiling, backend, precision, options.threads, options.gpu_index
            )
            if isinstance(ceiling, Failure):
                skip(f"matrix multiplications, {backend} {precision}", backend, ceiling)
            else:
                result.ceilings.append(ceiling)
                on_result(result, ceiling)
    for combination in combinations:
        if combination.backend not in missing_backends:
            row = call_in_process(
                measure_combination, bundle.folder, combination, options, gflop_per_view
            )
            if isinstance(row, Failure):
                skip(str(combination), combination.backend, row)
            else:
                row = with_ceiling_share(row, result.ceilings)
                result.rows.append(row)
                on_result(result, row)
    return result


def with_ceiling_share(row: LatencyRow, ceilings: Sequence[Ceiling]) -> LatencyRow:
    """Return a row with its share of the fastest ceiling on its device in its precision."""
    precision = ceiling_precision(row.precision)
    fastest = max(
        (
            ceiling.tflop_per_s
            for ceiling in ceilings
            if (ceiling.device, ceiling.precision) == (row.device, precision)
        ),
        default=None,
    )
    share = None if fastest is None else round(row.tflop_per_s / fastest, 4)
    return row.model_copy(update={"share_of_matmul_ceiling": share})
