"""`wmh-bench latency`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import typer

from wmh_bench.ceilings.matmul_ceiling import Ceiling
from wmh_bench.commands.options import (
    BackendsOption,
    BundleArgument,
    PrecisionsOption,
    ResultsOption,
    ThreadsOption,
    format_number,
    parse_backends,
    parse_batch_sizes,
    parse_precisions,
    parse_views,
    print_skipped,
    require_writable,
)
from wmh_bench.latency.combination import Combination, LatencyOptions
from wmh_bench.latency.isolated import Failure
from wmh_bench.latency.measure import list_combinations, measure_latency
from wmh_bench.latency.result import Latency, LatencyRow
from wmh_bench.results import write_result
from wmh_bench.timing.times import MIN_DURATION_S
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.cli import console
from wmh_runtime.errors import BackendError, InputError
from wmh_runtime.text import count_noun

_HEADER = (
    *("median ms", "p90 ms", "slices/s", "scans/h", "of ceil.", "of peak"),
    *("load s", "first s", "host MB", "GPU MB", "Dice", ""),
)
_ROW = "{:>9} {:>8} {:>9} {:>8} {:>8} {:>8} {:>7} {:>7} {:>8} {:>7} {:>7}  {}"
_START_S = 3.0  # of a process, with its libraries
_SLICES_PER_SCAN = 48  # 2-D FLAIR with slices of 3 mm, as at two of the three challenge sites


def latency(
    bundle: BundleArgument,
    backend: BackendsOption = "",
    precision: PrecisionsOption = "",
    views: Annotated[str, typer.Option(help="Views of the graphs, separated by commas.")] = "1,8",
    batch: Annotated[
        str,
        typer.Option(
            help="Batch sizes in slices, separated by commas. Default: 1; on GPUs 1,4.",
            show_default=False,
        ),
    ] = "",
    seconds: Annotated[
        float,
        typer.Option(
            min=0.01, help="Minimum duration of each measurement, of ten batches or more."
        ),
    ] = MIN_DURATION_S,
    slices_per_scan: Annotated[
        int, typer.Option(min=1, help="Slices of a scan, for scans per hour.")
    ] = _SLICES_PER_SCAN,
    threads: ThreadsOption = None,
    device: Annotated[int, typer.Option(min=0, help="GPU index, from 0.")] = 0,
    results: ResultsOption = None,
) -> None:
    """Measure latency, throughput, memory and parity in every backend and precision.

    Each combination runs in its own process. Latency is the time of a single batch. Slices per
    second are measured with as many batches in flight as in wmh-infer. The ceiling is the speed of
    large matrix multiplications in the same library and precision.
    """
    opened = load_bundle(bundle)
    combinations = list_combinations(
        parse_backends(backend),
        parse_precisions(precision),
        parse_views(views),
        parse_batch_sizes(batch),
    )
    if not combinations:
        raise InputError("nothing is left to measure", "Leave out --backend or --precision.")
    require_writable(results)
    options = LatencyOptions(seconds, slices_per_scan, threads, device)
    console.print_line(_estimate(combinations, seconds))
    with console.progress_bar() as bar:
        task = bar.add_task("measuring", total=len(combinations))

        def on_result(measured: Latency, new: Ceiling | LatencyRow | Failure) -> None:
            if results is not None:
                write_result(results, measured)
            if isinstance(new, Failure):
                skipped = measured.skipped
                print_skipped([*skipped][-1], new.reason)
                remaining = [
                    one
                    for one in combinations
                    if one.backend not in skipped and str(one) not in skipped
                ]
                bar.update(task, total=len(remaining))
            elif isinstance(new, Ceiling):
                speed = f"{new.tflop_per_s:.3g} TFLOP/s"
                console.print_line(f"matmul ceiling, {new.backend} {new.precision}: {speed}")
            else:
                if len(measured.rows) == 1:
                    console.print_line(_ROW.format(*_HEADER))
                _print_row(new)
                bar.advance(task)

        measured = measure_latency(opened, combinations, options, on_result)
    if not measured.rows:
        raise BackendError("nothing could be measured", "See the reasons above.")


def _estimate(combinations: Sequence[Combination], min_duration_s: float) -> str:
    """Say how long the measurement takes at least."""
    ceilings = {(one.backend, one.precision) for one in combinations}
    # Latency and speed of each combination, the speed of matrix products for each ceiling.
    timed = 2 * len(combinations) + len(ceilings)
    processes = len(combinations) + len(ceilings)
    least_s = timed * min_duration_s + processes * _START_S
    return (
        f"{count_noun(len(combinations), 'combination')} to measure, each in its own process: at"
        f" least {math.ceil(least_s / 60)} min, longer for a large network or a busy machine"
    )


def _print_row(row: LatencyRow) -> None:
    views, slices = count_noun(row.views, "view"), count_noun(row.batch_size, "slice")
    name = f"{row.backend} {row.precision}, {views}, {slices}"
    shares = [
        "–" if share is None else f"{share:.0%}"
        for share in (row.share_of_matmul_ceiling, row.share_of_peak)
    ]
    cells = (
        f"{row.times.median_ms:.4g}",
        format_number(row.times.p90_ms),
        f"{row.slices_per_s:.4g}",
        f"{row.scans_per_hour:.0f}",
        *shares,
        f"{row.load_s:.2f}",
        f"{row.first_batch_s:.2f}",
        f"{row.host_memory_mb:.0f}",
        format_number(row.device_memory_mb),
        f"{row.mask_dice:.4f}",
    )
    console.print_line(_ROW.format(*cells, name))
    if row.gpu_times is not None:
        times = row.gpu_times
        console.print_line(
            f"    on the GPU, ms: copy in {times.to_device_ms:.3g}, compute"
            f" {times.compute_ms:.4g}, copy out {times.from_device_ms:.3g}; enqueued in"
            f" {format_number(times.enqueue_ms)}"
        )
    if row.refused:
        console.print_warning(f"{name}: wmh-infer refuses it, {row.refused}")
    for warning in row.warnings:
        console.print_warning(f"{name}: {warning}")
