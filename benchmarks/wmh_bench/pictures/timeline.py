"""Draw a run: what each thread did over time, and how long each stage of a scan takes."""

from __future__ import annotations

from typing import Any

from wmh_bench.throughput import Throughput
from wmh_runtime.figures.plot_style import COLORS, LIGHT, Theme, figure, png
from wmh_runtime.text import count_noun

_WIDTH_INCHES = 9.0
_ROW_INCHES, _REST_INCHES = 0.34, 2.5
_BAR_HEIGHT = 0.72
_COLOR: dict[str, str] = {  # by stage
    "read": COLORS[0],
    "preprocess": COLORS[4],
    "predict": COLORS[1],
    "postprocess": COLORS[2],
    "write": COLORS[3],
}


def draw_timeline(measured: Throughput, theme: Theme = LIGHT) -> bytes:
    """Draw a row for each thread over the seconds of the run; below, the stages of a scan.

    Returns:
        PNG.
    """
    workers = sorted({activity.worker for activity in measured.timeline}, key=_row_order)
    height = _REST_INCHES + _ROW_INCHES * len(workers)
    with figure(_WIDTH_INCHES, height, theme) as drawing:
        ratios = [_ROW_INCHES * len(workers) + 0.9, 1.6]
        upper, lower = drawing.subplots(2, 1, height_ratios=ratios)
        _draw_threads(upper, measured, workers)
        _draw_stages(lower, measured)
        return png(drawing)


def _draw_threads(axes: Any, measured: Throughput, workers: list[str]) -> None:
    for row, worker in enumerate(workers):
        activities = [activity for activity in measured.timeline if activity.worker == worker]
        axes.broken_barh(
            [(one.start_s, max(one.end_s - one.start_s, 1e-3)) for one in activities],
            (row - _BAR_HEIGHT / 2, _BAR_HEIGHT),
            facecolors=[_COLOR[one.stage] for one in activities],
            linewidth=0,
        )
    axes.set_yticks(range(len(workers)), [_row_label(worker) for worker in workers])
    axes.set_ylim(len(workers) - 0.4, -0.6)
    axes.set_xlim(0, measured.seconds)
    axes.set_xlabel("Seconds")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_title(
        f"{count_noun(measured.scans, 'scan')} in {measured.seconds:.1f} s:"
        f" {measured.views_per_s:.4g} views a second,"
        f" {measured.share_of_backend_only:.0%} of the speed of the network alone",
        loc="left",
        fontsize=11,
    )


def _draw_stages(axes: Any, measured: Throughput) -> None:
    """Draw a bar for the mean duration of each stage of a scan."""
    stages = measured.seconds_per_scan
    longest_s = max(stages.values())
    for row, (stage, seconds) in enumerate(stages.items()):
        axes.barh(row, seconds, _BAR_HEIGHT, color=_COLOR[stage], linewidth=0)
        axes.annotate(
            f"{seconds:.2f}",
            (seconds + 0.008 * longest_s, row),
            verticalalignment="center",
            fontsize=9.5,
        )
    axes.set_yticks(range(len(stages)), list(stages))
    axes.set_ylim(len(stages) - 0.4, -0.6)
    axes.set_xlim(0, 1.08 * longest_s)
    axes.set_xlabel("Seconds per scan in each stage; predict: without waiting for the device")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _row_order(worker: str) -> tuple[bool, str]:
    """Sort devices before the threads that process cases."""
    return not worker.startswith("device"), worker


def _row_label(worker: str) -> str:
    """Return a thread's name with its number from 1: `device_0` becomes `device 1`."""
    kind, _, number = worker.partition("_")
    return f"{kind} {int(number) + 1}" if number else kind
