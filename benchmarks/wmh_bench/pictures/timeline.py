"""The pipeline as a picture: what each thread did, second by second, and how long a scan takes."""

from __future__ import annotations

from typing import Any

from wmh_bench.throughput import Throughput
from wmh_runtime.figures.plot_style import COLORS, LIGHT, Theme, figure, png
from wmh_runtime.inference.trace import Stage
from wmh_runtime.text import count_noun

_WIDTH_INCHES = 9.0
_ROW_INCHES, _REST_INCHES = 0.34, 2.5
_BAR_HEIGHT = 0.72
_COLOR: dict[Stage, str] = {"prepare": COLORS[4], "execute": COLORS[1], "finish": COLORS[2]}
_STAGE_OF: dict[str, Stage] = {
    **dict.fromkeys(("read", "prepare"), "prepare"),
    "execute": "execute",
    **dict.fromkeys(("restore", "lesions", "write"), "finish"),
}


def draw_timeline(measured: Throughput, theme: Theme = LIGHT) -> bytes:
    """Draw a row for each thread over the seconds of the run; below, the steps of a scan.

    Returns:
        PNG.
    """
    workers = sorted({one.worker for one in measured.timeline}, key=_order)
    height = _REST_INCHES + _ROW_INCHES * len(workers)
    with figure(_WIDTH_INCHES, height, theme) as drawn:
        ratios = [_ROW_INCHES * len(workers) + 0.9, 1.6]
        above, below = drawn.subplots(2, 1, height_ratios=ratios)
        _threads(above, measured, workers)
        _steps(below, measured)
        return png(drawn)


def _threads(axes: Any, measured: Throughput, workers: list[str]) -> None:
    for row, worker in enumerate(workers):
        of_worker = [one for one in measured.timeline if one.worker == worker]
        bars = [(one.began_s, max(one.ended_s - one.began_s, 1e-3)) for one in of_worker]
        place = (row - _BAR_HEIGHT / 2, _BAR_HEIGHT)
        axes.broken_barh(bars, place, facecolor=_COLOR[of_worker[0].stage], linewidth=0)
    axes.set_yticks(range(len(workers)), [_name(worker) for worker in workers])
    axes.set_ylim(len(workers) - 0.4, -0.6)
    axes.set_xlim(0, measured.seconds)
    axes.set_xlabel("Seconds")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_title(
        f"{count_noun(measured.scans, 'scan')} in {measured.seconds:.1f} s:"
        f" {measured.views_per_s:.4g} views a second,"
        f" {measured.share_of_alone:.0%} of what the device does alone",
        loc="left",
        fontsize=11,
    )


def _steps(axes: Any, measured: Throughput) -> None:
    """Draw the mean seconds of each step of a scan, one bar a step."""
    steps = measured.seconds_a_scan
    longest_s = max(steps.values())
    for row, (step, seconds) in enumerate(steps.items()):
        axes.barh(row, seconds, _BAR_HEIGHT, color=_COLOR[_STAGE_OF[step]], linewidth=0)
        axes.annotate(
            f"{seconds:.2f}",
            (seconds + 0.008 * longest_s, row),
            verticalalignment="center",
            fontsize=9.5,
        )
    axes.set_yticks(range(len(steps)), list(steps))
    axes.set_ylim(len(steps) - 0.4, -0.6)
    axes.set_xlim(0, 1.08 * longest_s)
    axes.set_xlabel("Seconds a scan, of the thread that does it")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _order(worker: str) -> tuple[int, str]:
    """Those that prepare first, then devices, then those that finish, as scans go."""
    kinds = ("preparing", "device", "finishing")
    return next(i for i, kind in enumerate(kinds) if worker.startswith(kind)), worker


def _name(worker: str) -> str:
    kind, _, number = worker.partition("_")
    return f"{kind} {int(number) + 1}" if number else kind
