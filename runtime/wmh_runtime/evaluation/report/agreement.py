"""Plots of volume agreement: a scatter plot and a Bland-Altman plot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.evaluation.report.summary import format_correlation, format_number
from wmh_runtime.evaluation.statistics import UNKNOWN_SITE, ScoredCase, VolumeAgreement
from wmh_runtime.figures.plot_style import LIGHT, MARKS, figure, png
from wmh_runtime.figures.plot_text import plot_text

_LOG_SCALE_FROM = 100.0  # largest volume / smallest volume: two decades
_WIDTH_INCHES = 6.4  # also the height of the square plot
_HEIGHT_INCHES = 4.6
_LEGEND_COLUMNS = 3
_NOTE_LENGTH = 110  # characters of 8 points in one line


def draw_volumes(
    cases: Sequence[ScoredCase], agreement: VolumeAgreement, notes: Sequence[str]
) -> bytes:
    """Plot the predicted volume against the reference volume, with the line of identity.

    Args:
        cases: at least one.
        agreement: agreement of their volumes.
        notes: lines below the plot, about what made the predictions.

    Returns:
        PNG.
    """
    true_ml, predicted_ml = _volumes(cases)
    with _axes(_WIDTH_INCHES, notes) as axes:
        both = np.concatenate([true_ml, predicted_ml])
        for axis in ("x", "y"):
            _scale(axes, axis, both)
        axes.axline((1, 1), (2, 2), color=LIGHT.line, linewidth=1, zorder=1)
        _scatter(axes, cases, true_ml, predicted_ml, {"loc": "upper left"})
        axes.set_xlabel("Reference volume (mL)")
        axes.set_ylabel("Predicted volume (mL)")
        r_squared = format_correlation(agreement.r_squared)
        pearson_r = format_correlation(agreement.pearson_r)
        title = f"R² {r_squared} · Pearson's r {pearson_r}"
        axes.set_title(title, loc="left", fontsize=11)
        return png(axes.figure)


def draw_bland_altman(
    cases: Sequence[ScoredCase], agreement: VolumeAgreement, notes: Sequence[str]
) -> bytes:
    """Plot differences of volumes against their means, with bias and limits of agreement.

    Args:
        cases: at least one.
        agreement: agreement of their volumes.
        notes: lines below the plot, about what made the predictions.

    Returns:
        PNG.
    """
    true_ml, predicted_ml = _volumes(cases)
    means_ml = (true_ml + predicted_ml) / 2
    with _axes(_HEIGHT_INCHES, notes) as axes:
        _scale(axes, "x", means_ml)
        axes.axhline(0, color=LIGHT.line, linewidth=0.6, zorder=1)
        lines = {  # a dict: equal values are drawn once
            agreement.upper_limit_ml: ("+1.96 SD", "--"),
            agreement.lower_limit_ml: ("−1.96 SD", "--"),
            agreement.bias_ml: ("bias", "-"),
        }
        for value_ml, (name, style) in lines.items():
            if math.isnan(value_ml):
                continue
            axes.axhline(value_ml, color=LIGHT.ink, linewidth=1.2, linestyle=style, zorder=1)
            axes.annotate(
                f"{name}\n{format_number(value_ml, 2)} mL",
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
    """Return the axis scale: logarithmic if volumes span more than two decades, symlog with 0."""
    positive = volumes_ml[volumes_ml > 0]
    if not len(positive) or positive.max() / positive.min() <= _LOG_SCALE_FROM:
        return "linear"
    return "log" if len(positive) == len(volumes_ml) else "symlog"


def _volumes(cases: Sequence[ScoredCase]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    metrics = [case.metrics for case in cases]
    return np.array([m.reference_ml for m in metrics]), np.array([m.prediction_ml for m in metrics])


@contextmanager
def _axes(height_inches: float, notes: Sequence[str]) -> Iterator[Any]:
    """Yield the axes of a new figure, with notes below them."""
    with figure(_WIDTH_INCHES, height_inches) as drawn:
        note = "\n".join(plot_text(line, _NOTE_LENGTH) for line in notes)
        drawn.supxlabel(note, x=0.01, horizontalalignment="left", fontsize=8, color=LIGHT.line)
        yield drawn.add_subplot()


def _scale(axes: Any, axis: Literal["x", "y"], volumes_ml: NDArray[np.float64]) -> None:
    """Set the scale of an axis of volumes, and limits with a small margin."""
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
        # Set limits after ticks, because ticks may change the limits.
        set_limits(-0.15 * 10.0**decade, largest_ml * 1.6)
    getattr(axes, f"{axis}axis").set_major_formatter(lambda value, _: f"{value:g}")


def _scatter(
    axes: Any,
    cases: Sequence[ScoredCase],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    legend_position: dict[str, Any],
) -> None:
    """Draw a point for each case. Each of the largest sites has its own color and marker."""
    site_of_case = np.array([case.site or UNKNOWN_SITE for case in cases])
    for index, (name, is_here) in enumerate(named_groups(site_of_case)):
        axes.scatter(
            *(x[is_here], y[is_here]),
            s=34,
            color=LIGHT.colors[index % len(LIGHT.colors)],
            marker=MARKS[index],
            alpha=0.85,
            linewidths=0,
            label=f"{plot_text(name)} ({np.count_nonzero(is_here)})",
            zorder=2,
        )
    if any(case.site for case in cases):
        axes.legend(frameon=False, fontsize=10, handletextpad=0.2, **legend_position)


def named_groups(
    site_of_case: NDArray[np.str_],
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return name and members of each site by name; more sites than markers share the last."""
    sites, counts = np.unique(site_of_case, return_counts=True)
    if len(sites) <= len(MARKS):
        return [(str(site), site_of_case == site) for site in sites]
    own = sorted(sites[np.argsort(-counts, kind="stable")][: len(MARKS) - 1])
    is_other = ~np.isin(site_of_case, own)
    groups = [(str(site), site_of_case == site) for site in own]
    return [*groups, (f"{len(sites) - len(own)} other sites", is_other)]
