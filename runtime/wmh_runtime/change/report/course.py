"""The course of the lesion volume over the visits, as an SVG picture.

Lines and text have the text color of the page around the picture, so that it can be read on light
and on dark pages. A page can set the color of the data: they have the class `wmh-course`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from wmh_runtime.change.record import ChangeRecord

_WIDTH, _HEIGHT = 640, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 24, 34, 48  # margins
_DATA_COLOR = "#2a8fd0"  # contrast 3.5 on white, 5.3 on #0d1117; WCAG asks for 3
_GRID_OPACITY = 0.18
_CAP = 5  # half the width of the end of an error bar
_TICKS = 4
_LABEL_WIDTH = 76  # of a date; a label that would overlap with the one before is left out
_FONT = 'font-family="system-ui, sans-serif" font-size="12"'


def course_svg(record: ChangeRecord) -> str:
    """Draw the volumes of all visits with their uncertainty.

    The visits are placed by their dates, or at equal distances if a date is not known. The bar of
    a visit is the uncertainty of a change divided by √2: then two bars together, as independent
    errors, are that of the change.

    Returns:
        An `svg` element, to write to a file or to embed in an HTML page.
    """
    volumes_ml = [visit.volume_ml for visit in record.visits]
    bars_ml = _bars_ml(record)
    top_ml, step_ml = _scale(
        max(volume + bar for volume, bar in zip(volumes_ml, bars_ml, strict=True))
    )
    xs = _positions(record)

    def y_of(volume_ml: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * volume_ml / top_ml

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' width="{_WIDTH}" aria-label="{escape(_description(record))}"'
        f' fill="currentColor" {_FONT}>',
        f'<text x="{_LEFT - 40}" y="18">Lesion volume, mL</text>',
        *_axis(top_ml, step_ml, y_of),
        *_labels(record, xs),
        f'<g class="wmh-course" color="{_DATA_COLOR}" fill="currentColor" stroke="currentColor"'
        ' stroke-width="2">',
        *_data(record, xs, bars_ml, y_of),
        "</g>",
    ]
    for x, volume, bar in zip(xs, volumes_ml, bars_ml, strict=True):
        y = y_of(volume + bar) - 7
        parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{volume:.2f}</text>')
    return "\n".join([*parts, "</svg>"])


def _data(
    record: ChangeRecord,
    xs: Sequence[float],
    bars_ml: Sequence[float],
    y_of: Callable[[float], float],
) -> list[str]:
    """Draw the line, and for each visit an error bar and a point."""
    volumes_ml = [visit.volume_ml for visit in record.visits]
    points = " ".join(f"{x:.1f},{y_of(ml):.1f}" for x, ml in zip(xs, volumes_ml, strict=True))
    parts = [f'<polyline fill="none" points="{points}"/>']
    for x, bar, visit in zip(xs, bars_ml, record.visits, strict=True):
        low, high = y_of(max(0.0, visit.volume_ml - bar)), y_of(visit.volume_ml + bar)
        parts.append(
            f'<path d="M{x:.1f} {low:.1f}V{high:.1f}M{x - _CAP:.1f} {low:.1f}h{2 * _CAP}'
            f'M{x - _CAP:.1f} {high:.1f}h{2 * _CAP}"/>'
            f'<circle cx="{x:.1f}" cy="{y_of(visit.volume_ml):.1f}" r="3">'
            f"<title>{escape(visit.label)}: {visit.volume_ml:.2f} mL</title></circle>"
        )
    return parts


def _bars_ml(record: ChangeRecord) -> list[float]:
    """Return the uncertainty of each visit: the larger one of its two intervals."""
    changes = [interval.uncertainty_ml for interval in record.intervals]
    neighbors = zip([0.0, *changes], [*changes, 0.0], strict=True)
    return [max(pair) / math.sqrt(2) for pair in neighbors]


def _positions(record: ChangeRecord) -> list[float]:
    """Return the x of each visit."""
    days: Sequence[float] = range(len(record.visits))
    dates = [visit.date for visit in record.visits if visit.date is not None]
    if len(dates) == len(record.visits) and dates[-1] > dates[0]:
        days = [(date - dates[0]).days for date in dates]
    width = _WIDTH - _LEFT - _RIGHT - 80
    return [_LEFT + 40 + width * day / days[-1] for day in days]


def _scale(highest_ml: float) -> tuple[float, float]:
    """Return the end of the axis and the distance of its ticks: 1, 2 or 5 times a power of 10."""
    rough = max(highest_ml, 0.01) / _TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return step * math.ceil(max(highest_ml, 0.01) / step - 1e-9), step


def _axis(top_ml: float, step_ml: float, y_of: Callable[[float], float]) -> list[str]:
    parts = []
    for index in range(round(top_ml / step_ml) + 1):
        y = y_of(index * step_ml)
        opacity = 1 if index == 0 else _GRID_OPACITY
        parts.append(
            f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="currentColor"'
            f' stroke-opacity="{opacity}"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{index * step_ml:g}</text>'
        )
    return parts


def _labels(record: ChangeRecord, xs: Sequence[float]) -> list[str]:
    parts, free_from = [], 0.0
    for x, visit in zip(xs, record.visits, strict=True):
        if x < free_from:
            continue
        free_from = x + _LABEL_WIDTH
        lines = [visit.label, *([] if visit.date is None else [visit.date.isoformat()])]
        parts += [
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18 + 16 * row}" text-anchor="middle">'
            f"{escape(line)}</text>"
            for row, line in enumerate(lines)
        ]
    return parts


def _description(record: ChangeRecord) -> str:
    volumes = ", ".join(f"{visit.label} {visit.volume_ml:.2f} mL" for visit in record.visits)
    return f"Lesion volume of {record.subject}: {volumes}"
