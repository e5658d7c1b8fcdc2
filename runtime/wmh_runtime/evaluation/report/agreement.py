"""Two pictures of how well volumes agree: against each other, and their difference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.evaluation.report.summary import number
from wmh_runtime.evaluation.statistics import UNKNOWN_SITE, Case, VolumeAgreement
from wmh_runtime.figures.plot_style import LIGHT, MARKS, figure, png

_LOG_FROM = 100.0  # largest volume over smallest: two decades
_SIDE_INCHES = 6.4
_LOW_INCHES = 4.6
_LEGEND_COLUMNS = 3


def draw_volumes(cases: Sequence[Case], agreement: VolumeAgreement) -> bytes:
    """Draw each case's predicted volume over that of its reference, with the line of identity.

    Args:
        cases: at least one.
        agreement: of their volumes.

    Returns:
        PNG.
    """
    true_ml, predicted_ml = _volumes(cases)
    with _axes(_SIDE_INCHES) as axes:
        both = np.concatenate([true_ml, predicted_ml])
        for axis in ("x", "y"):
            _scale(axes, axis, both)
        axes.axline((1, 1), (2, 2), color=LIGHT.line, linewidth=1, zorder=1)
        _scatter(axes, cases, true_ml, predicted_ml, {"loc": "upper left"})
        axes.set_xlabel("Reference volume (mL)")
        axes.set_ylabel("Predicted volume (mL)")
        axes.set_title(
            f"R² {number(agreement.r_squared, 3)} · Pearson's r {number(agreement.pearson_r, 3)}",
            loc="left",
            fontsize=11,
        )
        return png(axes.figure)


def draw_bland_altman(cases: Sequence[Case], agreement: VolumeAgreement) -> bytes:
    """Draw the differences of volumes over their means, with bias and limits of agreement.

    Args:
        cases: at least one.
        agreement: of their volumes.

    Returns:
        PNG.
    """
    true_ml, predicted_ml = _volumes(cases)
    means_ml = (true_ml + predicted_ml) / 2
    with _axes(_LOW_INCHES) as axes:
        _scale(axes, "x", means_ml)
        axes.axhline(0, color=LIGHT.line, linewidth=0.6, zorder=1)
        lines = {  # equal values are one line
            agreement.upper_limit_ml: ("+1.96 SD", "--"),
            agreement.lower_limit_ml: ("−1.96 SD", "--"),
            agreement.bias_ml: ("bias", "-"),
        }
        for value_ml, (name, style) in lines.items():
            if math.isnan(value_ml):
                continue
            axes.axhline(value_ml, color=LIGHT.ink, linewidth=1.2, linestyle=style, zorder=1)
            axes.annotate(
                f"{name}\n{number(value_ml, 2)} mL",
                (1.01, value_ml),
                xycoords=("axes fraction", "data"),
                verticalalignment="center",
                fontsize=9.5,
            )
        above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": _LEGEND_COLUMNS}
        _scatter(axes, cases, means_ml, predicted_ml - true_ml, above)
        axes.margins(y=0.12)
        axes.set_xlabel("Mean of prediction and reference (mL)")
        axes.set_ylabel("Prediction − reference (mL)")
        return png(axes.figure)


def volume_scale(volumes_ml: NDArray[np.float64]) -> Literal["linear", "log", "symlog"]:
    """Choose an axis: logarithmic where volumes span over two decades, linear around any 0."""
    positive = volumes_ml[volumes_ml > 0]
    if not len(positive) or positive.max() / positive.min() <= _LOG_FROM:
        return "linear"
    return "log" if len(positive) == len(volumes_ml) else "symlog"


def _volumes(cases: Sequence[Case]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    metrics = [case.metrics for case in cases]
    return np.array([m.reference_ml for m in metrics]), np.array([m.prediction_ml for m in metrics])


@contextmanager
def _axes(height_inches: float) -> Iterator[Any]:
    """Yield the axes of a new figure."""
    with figure(_SIDE_INCHES, height_inches) as drawn:
        yield drawn.add_subplot()


def _scale(axes: Any, axis: Literal["x", "y"], volumes_ml: NDArray[np.float64]) -> None:
    """Scale an axis of volumes and set its ends a little beyond them."""
    scale, largest_ml = volume_scale(volumes_ml), float(volumes_ml.max()) or 1.0
    set_scale, set_limits = getattr(axes, f"set_{axis}scale"), getattr(axes, f"set_{axis}lim")
    if scale == "linear":
        set_limits(-0.03 * largest_ml, 1.06 * largest_ml)
        return
    smallest_ml = float(volumes_ml[volumes_ml > 0].min())
    if scale == "log":
        set_scale("log")
        set_limits(smallest_ml / 1.6, largest_ml * 1.6)
    else:
        decade = math.floor(math.log10(smallest_ml))
        set_scale("symlog", linthresh=10.0**decade, linscale=0.5)
        decades = range(decade, math.ceil(math.log10(largest_ml)) + 1)
        getattr(axes, f"set_{axis}ticks")([0.0, *(10.0**power for power in decades)])
        set_limits(-0.15 * 10.0**decade, largest_ml * 1.6)  # ticks may have widened them
    getattr(axes, f"{axis}axis").set_major_formatter(lambda value, _: f"{value:g}")


def _scatter(
    axes: Any,
    cases: Sequence[Case],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    place_of_legend: dict[str, Any],
) -> None:
    """Draw a point for each case; sites differ in color and mark where there are any."""
    of_case = np.array([case.site or UNKNOWN_SITE for case in cases])
    sites = np.unique(of_case)
    for place, site in enumerate(sites):
        axes.scatter(
            *(x[of_case == site], y[of_case == site]),
            s=34,
            color=LIGHT.colors[place % len(LIGHT.colors)],
            marker=MARKS[place % len(MARKS)],
            alpha=0.85,
            linewidths=0,
            label=f"{site} ({np.count_nonzero(of_case == site)})",
            zorder=2,
        )
    if any(case.site for case in cases):
        axes.legend(frameon=False, fontsize=10, handletextpad=0.2, **place_of_legend)
