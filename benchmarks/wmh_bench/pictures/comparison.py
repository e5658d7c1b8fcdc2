"""Draw a comparison: for each backend its speed, share of the ceiling, and mask Dice.

The picture explains its terms, since it is also shown alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wmh_bench.compare import Comparison, SliceSpeed
from wmh_runtime.figures.plot_style import LIGHT, Theme, figure, png
from wmh_runtime.figures.plot_text import plot_text

_WIDTH_INCHES = 11.0
_ROW_INCHES, _REST_INCHES, _NOTE_INCHES = 0.33, 1.35, 0.2
_BAR_HEIGHT = 0.66
_MAX_DICE_AXIS_START = 0.97  # the axis starts here, or below the lowest Dice
_LOG_FROM_RATIO = 30.0  # the axis is logarithmic if fastest / slowest is above
_MAX_NAME_LENGTH = 100  # characters of a model's name and figures
_VIEWS = "views: the slice mirrored and turned in eight ways; the result is their mean"
_TERMS = {  # in the names of variants
    "view by view": "one view after another, with separate LoRA adapters",
    "merged": "adapters merged into the weights, eight views in a batch",
    "rewritten": "merged, with the attention of the exported graphs",
    "SDPA": "merged, with scaled_dot_product_attention of PyTorch",
    "int8+bf16": "matrix products in int8, the rest in bf16",
}


def draw_comparison(comparison: Comparison, theme: Theme = LIGHT) -> bytes:
    """Draw a block for each model: slices per second, share of the ceiling, mask Dice.

    Args:
        comparison: with at least one slice speed.
        theme: for light or dark pages.

    Returns:
        PNG.
    """
    blocks = comparison.by_model
    heights = [_REST_INCHES + _ROW_INCHES * len(speeds) for _, speeds in blocks]
    devices = list(dict.fromkeys(speed.device for speed in comparison.slice_speeds))
    palette = theme.colors
    color = {device: palette[i % len(palette)] for i, device in enumerate(devices)}
    notes = explained_terms(comparison.slice_speeds)
    height = sum(heights) + 0.35 + _NOTE_INCHES * len(notes)
    with figure(_WIDTH_INCHES, height, theme) as drawing:
        grid = drawing.subplots(
            *(len(blocks), 3), squeeze=False, sharey="row", height_ratios=heights,
            width_ratios=(1.3, 1, 1),
        )  # fmt: skip
        for axes, (model, speeds) in zip(grid, blocks, strict=True):
            _draw_speed(axes[0], speeds, color)
            _draw_shares(axes[1], speeds, color, theme)
            _draw_dice(axes[2], speeds, color)
            title = plot_text(model, _MAX_NAME_LENGTH)
            axes[0].set_title(title, loc="left", fontsize=11, fontweight="bold")
            _label_rows(axes[0], speeds)
            for one in axes:
                one.grid(visible=False, axis="y")
                one.tick_params(axis="y", length=0)
        handles = [grid[0][0].barh(0, 0, color=color[device], linewidth=0) for device in devices]
        names = [plot_text(device) for device in devices]
        drawing.legend(handles, names, loc="outside upper right", frameon=False, ncols=3)
        note = "\n".join(notes)
        drawing.supxlabel(note, x=0.01, horizontalalignment="left", fontsize=9.5)
        return png(drawing)


def explained_terms(speeds: Sequence[SliceSpeed]) -> list[str]:
    """Explain views, and the terms that occur in the names of variants, one a line."""
    names = [speed.name for speed in speeds]
    return [
        _VIEWS,
        *(
            f"{term}: {meaning}"
            for term, meaning in _TERMS.items()
            if any(term in name.split(", ") for name in names)
        ),
    ]


def _draw_speed(axes: Any, speeds: Sequence[SliceSpeed], color: dict[str, str]) -> None:
    rates = [speed.slices_per_s for speed in speeds]
    axes.barh(
        *(range(len(speeds)), rates, _BAR_HEIGHT),
        color=[color[speed.device] for speed in speeds],
        linewidth=0,
    )
    if max(rates) > _LOG_FROM_RATIO * min(rates):
        axes.set_xscale("log")
        axes.set_xlim(min(rates) / 2, max(rates) * 4)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    else:
        axes.set_xlim(0, max(rates) * 1.25)
    for row, rate in enumerate(rates):
        axes.annotate(f" {rate:.3g}", (rate, row), verticalalignment="center", fontsize=9.5)
    axes.set_xlabel("Slices per second,\neight views of each", loc="left")


def _draw_shares(
    axes: Any, speeds: Sequence[SliceSpeed], color: dict[str, str], theme: Theme
) -> None:
    for row, speed in enumerate(speeds):
        if speed.share_of_matmul_ceiling is not None:
            share = 100 * speed.share_of_matmul_ceiling
            axes.barh(row, share, _BAR_HEIGHT, color=color[speed.device], linewidth=0)
        if speed.share_of_peak is not None:
            share = 100 * speed.share_of_peak
            axes.plot([share] * 2, [row - 0.4, row + 0.4], color=theme.ink, linewidth=2)
    axes.axvline(100, color=theme.line, linewidth=1)
    axes.set_xlim(0, None)
    has_peak = any(speed.share_of_peak is not None for speed in speeds)
    label = "Speed in % of that of\nlarge matrix products"
    if has_peak:
        label += "\n(line: of the manufacturer's peak)"
    axes.set_xlabel(label, loc="left")


def _draw_dice(axes: Any, speeds: Sequence[SliceSpeed], color: dict[str, str]) -> None:
    for row, speed in enumerate(speeds):
        fill = "none" if speed.refused else color[speed.device]
        axes.plot(*(speed.mask_dice, row, "o"), markersize=7, color=color[speed.device], mfc=fill)
    lowest = min(_MAX_DICE_AXIS_START, *(speed.mask_dice for speed in speeds))
    axes.set_xlim(lowest - 0.02 * (1 - lowest), 1 + 0.06 * (1 - lowest))
    label = "Dice of its masks with those\nof the trained network"
    if any(speed.refused for speed in speeds):
        label += "\n(empty circle: wmh-infer refuses it)"
    axes.set_xlabel(label, loc="left")


def _label_rows(axes: Any, speeds: Sequence[SliceSpeed]) -> None:
    axes.set_yticks(range(len(speeds)), [plot_text(speed.name) for speed in speeds])
    axes.set_ylim(-0.6, len(speeds) - 0.4)
