"""Box plots of a comparison: a row for each metric, a column for models and for each factor."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.evaluation.comparison.analysis import Comparison, values_by_level
from wmh_runtime.evaluation.comparison.factors import Factor
from wmh_runtime.evaluation.comparison.measures import MEASURES
from wmh_runtime.figures.plot_style import LIGHT, figure, png
from wmh_runtime.figures.plot_text import plot_text
from wmh_runtime.text import count_noun

MAX_FACTORS = 2
_ROW_INCHES = 2.3
_MARGIN_INCHES = (1.1, 1.3)  # width and height besides the boxes, for labels and legend
_BOX_INCHES = 0.17  # from one box to the next within a level
_LEVEL_INCHES = 0.86  # the least width of a level, for its label
_MODEL_INCHES = 0.42  # from one box to the next where each is a model
_LEAST_INCHES = 1.6  # of a column, for its title
_GAP = 0.8  # between levels, in boxes
_LEAST_FIGURE_INCHES = 3.8  # for the longest name in the legend
_NAME_LENGTH = 30  # characters, of models and levels
_LABEL_CHARACTERS_PER_INCH = 12
_LEGEND_CHARACTERS_PER_INCH = 9
_HATCHES = ("", "////", "....", "xxxx")  # a color that is used again has another one


def draw_comparison(comparison: Comparison) -> bytes:
    """Draw the metrics of each model, over all scans and by up to two factors.

    A box has the quartiles and the median. Whiskers end at the last value within 1.5 times the
    height of the box; values beyond are points.

    Returns:
        PNG.
    """
    scores = comparison.scores
    factors = comparison.factors.used[:MAX_FACTORS]
    models = len(scores.models)
    widths = [max(_MODEL_INCHES * models, _LEAST_INCHES)]
    level = max(_BOX_INCHES * (models + _GAP), _LEVEL_INCHES)
    widths += [max(level * len(factor.levels), _LEAST_INCHES) for factor in factors]
    width = max(sum(widths) + _MARGIN_INCHES[0], _LEAST_FIGURE_INCHES)
    with figure(width, len(MEASURES) * _ROW_INCHES + _MARGIN_INCHES[1]) as drawn:
        grid = drawn.subplots(
            *(len(MEASURES), len(widths)),
            sharex="col",
            sharey="row",
            squeeze=False,
            gridspec_kw={"width_ratios": widths},
        )
        for measure, row in zip(MEASURES, grid, strict=True):
            values = scores.values[measure.column]
            _draw_models(row[0], values)
            for axes, factor in zip(row[1:], factors, strict=True):
                _draw_levels(axes, values, factor)
            row[0].set_ylabel(measure.title)
        _label(grid[0][0], grid[-1][0], f"All ({count_noun(len(scores.scans), 'scan')})", [])
        for column, factor in enumerate(factors, start=1):
            title = f"By {plot_text(factor.title)}"
            line = int(widths[column] / len(factor.levels) * _LABEL_CHARACTERS_PER_INCH)
            _label(grid[0][column], grid[-1][column], title, _level_labels(factor, line))
        _legend(drawn, scores.models, width)
        drawn.align_ylabels()
        return png(drawn)


def _draw_models(axes: Any, values: NDArray[np.float64]) -> None:
    """Draw a box for each model; values are (models, scans)."""
    for index, row in enumerate(values):
        _draw_box(axes, row[~np.isnan(row)], float(index), 0.6, index)
    axes.set_xlim(-0.7, len(values) - 0.3)
    axes.grid(visible=False, axis="x")


def _draw_levels(axes: Any, values: NDArray[np.float64], factor: Factor) -> None:
    """Draw the boxes of all models side by side for each level of a factor."""
    step = 1 / (len(values) + _GAP)
    for index, row in enumerate(values):
        offset = (index - (len(values) - 1) / 2) * step
        for place, group in enumerate(values_by_level(row, factor).values()):
            _draw_box(axes, group, place + offset, min(0.8 * step, 0.3), index)
    for place in range(len(factor.levels) - 1):
        axes.axvline(place + 0.5, color=LIGHT.grid, linewidth=1, zorder=0)
    axes.set_xlim(-0.5, len(factor.levels) - 0.5)
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)


def _draw_box(
    axes: Any, values: NDArray[np.float64], position: float, width: float, model: int
) -> None:
    color = LIGHT.colors[model % len(LIGHT.colors)]
    line = {"color": color, "linewidth": 1}
    drawn = axes.boxplot(
        [values],
        positions=[position],
        widths=width,
        patch_artist=True,
        manage_ticks=False,
        boxprops={"edgecolor": color, "facecolor": f"{color}55", "linewidth": 1},
        medianprops={"color": LIGHT.ink, "linewidth": 1.4},
        whiskerprops=line,
        capprops=line,
        flierprops={"marker": ".", "markersize": 4, "markerfacecolor": color, "markeredgewidth": 0},
    )
    drawn["boxes"][0].set_hatch(_hatch(model))


def _hatch(model: int) -> str:
    return _HATCHES[model // len(LIGHT.colors) % len(_HATCHES)]


def _level_labels(factor: Factor, line: int) -> list[str]:
    """Return the name of each level, in lines of some characters, with its number of scans."""
    return [
        "\n".join(
            [
                *textwrap.wrap(plot_text(level, _NAME_LENGTH), line),
                f"({np.count_nonzero(factor.level_of_scan == level)})",
            ]
        )
        for level in factor.levels
    ]


def _label(top: Any, bottom: Any, title: str, labels: Sequence[str]) -> None:
    """Write the title of a column above its top axes, and labels below its bottom axes."""
    top.set_title(title, loc="left", fontsize=11)
    bottom.set_xticks(range(len(labels)), labels, fontsize=8.5)


def _legend(drawn: Any, models: Sequence[str], width_inches: float) -> None:
    """Write the names of the models above all axes, in as many columns as fit."""
    from matplotlib.patches import Patch

    names = [plot_text(model, _NAME_LENGTH) for model in models]
    patches = [
        Patch(
            facecolor=f"{LIGHT.colors[index % len(LIGHT.colors)]}55",
            edgecolor=LIGHT.colors[index % len(LIGHT.colors)],
            hatch=_hatch(index),
            label=name,
        )
        for index, name in enumerate(names)
    ]
    longest = max(map(len, names)) + 6  # with the patch
    fitting = max(1, int(width_inches * _LEGEND_CHARACTERS_PER_INCH / longest))
    lines = math.ceil(len(names) / fitting)
    drawn.legend(
        handles=patches,
        loc="outside upper left",
        ncols=math.ceil(len(names) / lines),
        frameon=False,
        fontsize=10,
        handlelength=1.2,
    )
