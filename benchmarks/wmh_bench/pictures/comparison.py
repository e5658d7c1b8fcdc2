"""Results of several machines as a picture: one line a way, its speed beside its price."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wmh_bench.compare import Comparison, Entry
from wmh_runtime.figures.plot_style import LIGHT, Theme, figure, png

_WIDTH_INCHES = 11.0
_ROW_INCHES, _REST_INCHES = 0.33, 1.15
_BAR_HEIGHT = 0.66
_DICE_FROM = 0.97  # the axis begins there, or below what was measured
_LOG_FROM = 30.0  # times as fast the fastest is as the slowest


def draw_comparison(comparison: Comparison, theme: Theme = LIGHT) -> bytes:
    """Draw a block for each model: slices a second, share of products, masks that stay the same.

    Args:
        comparison: with an entry at least.
        theme: the paper.

    Returns:
        PNG.
    """
    blocks = comparison.models
    heights = [_REST_INCHES + _ROW_INCHES * len(entries) for _, entries in blocks]
    devices = list(dict.fromkeys(entry.device for entry in comparison.entries))
    palette = theme.colors
    color = {device: palette[i % len(palette)] for i, device in enumerate(devices)}
    with figure(_WIDTH_INCHES, sum(heights) + 0.35, theme) as drawn:
        grid = drawn.subplots(
            *(len(blocks), 3), squeeze=False, sharey="row", height_ratios=heights,
            width_ratios=(1.3, 1, 1),
        )  # fmt: skip
        for axes, (model, entries) in zip(grid, blocks, strict=True):
            _speed(axes[0], entries, color)
            _shares(axes[1], entries, color, theme)
            _prices(axes[2], entries, color)
            axes[0].set_title(model, loc="left", fontsize=11, fontweight="bold")
            _label_rows(axes[0], entries)
            for one in axes:
                one.grid(visible=False, axis="y")
                one.tick_params(axis="y", length=0)
        handles = [grid[0][0].barh(0, 0, color=color[device], linewidth=0) for device in devices]
        drawn.legend(handles, devices, loc="outside upper right", frameon=False, ncols=3)
        return png(drawn)


def _speed(axes: Any, entries: Sequence[Entry], color: dict[str, str]) -> None:
    speeds = [entry.slices_per_s for entry in entries]
    axes.barh(
        *(range(len(entries)), speeds, _BAR_HEIGHT),
        color=[color[entry.device] for entry in entries],
        linewidth=0,
    )
    if max(speeds) > _LOG_FROM * min(speeds):
        axes.set_xscale("log")
        axes.set_xlim(min(speeds) / 2, max(speeds) * 4)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    else:
        axes.set_xlim(0, max(speeds) * 1.25)
    for row, speed in enumerate(speeds):
        axes.annotate(f" {speed:.3g}", (speed, row), verticalalignment="center", fontsize=9.5)
    axes.set_xlabel("slices of eight views a second", loc="left")


def _shares(axes: Any, entries: Sequence[Entry], color: dict[str, str], theme: Theme) -> None:
    for row, entry in enumerate(entries):
        if entry.share_of_products is not None:
            share = 100 * entry.share_of_products
            axes.barh(row, share, _BAR_HEIGHT, color=color[entry.device], linewidth=0)
        if entry.share_of_peak is not None:
            share = 100 * entry.share_of_peak
            axes.plot([share] * 2, [row - 0.4, row + 0.4], color=theme.ink, linewidth=2)
    axes.axvline(100, color=theme.line, linewidth=1)
    axes.set_xlim(0, None)
    on_paper = any(entry.share_of_peak is not None for entry in entries)
    axes.set_xlabel("% of matrix products" + " (line: of peak)" * on_paper, loc="left")


def _prices(axes: Any, entries: Sequence[Entry], color: dict[str, str]) -> None:
    for row, entry in enumerate(entries):
        fill = "none" if entry.refused else color[entry.device]
        axes.plot(*(entry.mask_dice, row, "o"), markersize=7, color=color[entry.device], mfc=fill)
    lowest = min(_DICE_FROM, *(entry.mask_dice for entry in entries))
    axes.set_xlim(lowest - 0.02 * (1 - lowest), 1 + 0.06 * (1 - lowest))
    refused = any(entry.refused for entry in entries)
    axes.set_xlabel("mask Dice with the network" + " (empty: refused)" * refused, loc="left")


def _label_rows(axes: Any, entries: Sequence[Entry]) -> None:
    axes.set_yticks(range(len(entries)), [entry.name for entry in entries])
    axes.set_ylim(-0.6, len(entries) - 0.4)
