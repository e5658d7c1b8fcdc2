"""Positions in the plots of a report. Widths are in percent of the plot, heights in pixels.

So the plots fill the width of a screen or a phone without a change of the size of their text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wmh_runtime.postprocessing.load_bands import LOAD_BANDS
from wmh_runtime.report.model import Quartiles, ScanEntry

_LEAST_DECADES = (-1, 2)  # 0.1 to 100 mL are always shown
_SMALLEST_ML = 0.01  # smaller volumes are drawn here
_ZERO_PERCENT = 3.0  # the place of scans without lesions
_FIRST_PERCENT, _LAST_PERCENT = 2.0, 98.0  # ends of the logarithmic axis
_AFTER_ZERO_PERCENT = 8.0  # its beginning beside scans without lesions
_DOT_PX, _ASSUMED_WIDTH_PX = 11.0, 1000.0  # dots at this width do not overlap
_MAX_ROWS = 8  # of dots above one another; then they overlap
_MARGIN_PX = 22.0  # above and below the dots, for labels

# Bars of lesion size: lower limit in mm³, in steps of about half a decade, and text.
SIZES = (
    (0, "< 10 mm³"),
    (10, "10–30"),
    (30, "30–100"),
    (100, "100–300"),
    (300, "300–1000"),
    (1000, "1–3 mL"),
    (3000, "3–10 mL"),
    (10000, "≥ 10 mL"),
)


@dataclass(frozen=True)
class Dot:
    """The place of a scan."""

    entry: ScanEntry
    x: float
    y: float


@dataclass(frozen=True)
class Tick:
    """A mark of the axis."""

    text: str
    x: float


@dataclass(frozen=True)
class Band:
    """The part of the axis that belongs to a band of lesion load."""

    name: str
    x: float
    width: float


@dataclass(frozen=True)
class Distribution:
    """All scans along a logarithmic axis of volume."""

    dots: Sequence[Dot]
    ticks: Sequence[Tick]
    bands: Sequence[Band]
    box: tuple[float, float, float]  # quartiles
    height: float
    has_zero: bool
    zero_x: float = _ZERO_PERCENT


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram."""

    text: str  # the sizes
    count: int
    volume_mm3: float  # of all lesions in it
    x: float
    width: float
    share: float  # of the highest bar, 0 to 1


def distribution(entries: Sequence[ScanEntry], volume_ml: Quartiles) -> Distribution:
    """Place the scans of one output along an axis of volume."""
    volumes = [entry.volume_ml for entry in entries]
    first = min(_LEAST_DECADES[0], *(math.floor(_log(one)) for one in volumes if one > 0), 0)
    last = max(_LEAST_DECADES[1], *(math.ceil(_log(one)) for one in volumes), 0)

    has_zero = any(volume <= 0 for volume in volumes)
    start = _AFTER_ZERO_PERCENT if has_zero else _FIRST_PERCENT

    def place(volume: float) -> float:
        if volume <= 0:
            return _ZERO_PERCENT
        share = (_log(volume) - first) / (last - first)
        return start + share * (_LAST_PERCENT - start)

    xs = [place(volume) for volume in volumes]
    rows = _rows(xs)
    spread = max((abs(row) for row in rows), default=0)
    middle = _MARGIN_PX + (spread + 0.5) * _DOT_PX
    limits = [10.0**first, *(limit for limit in LOAD_BANDS.values() if math.isfinite(limit))]
    edges = [*map(place, limits), _LAST_PERCENT]
    return Distribution(
        dots=[
            Dot(entry, round(x, 3), middle + row * _DOT_PX)
            for entry, x, row in zip(entries, xs, rows, strict=True)
        ],
        ticks=[Tick(f"{10.0**one:g}", place(10.0**one)) for one in range(first, last + 1)],
        bands=[
            Band(name, round(left, 3), round(right - left, 3))
            for name, left, right in zip(LOAD_BANDS, edges[:-1], edges[1:], strict=True)
        ],
        box=(place(volume_ml.first), place(volume_ml.median), place(volume_ml.third)),
        height=2 * middle,
        has_zero=has_zero,
    )


def size_histogram(volumes_mm3: Sequence[float]) -> list[Bar]:
    """Count the lesions by size; a limit belongs to the higher bar."""
    limits = np.array([limit for limit, _ in SIZES])
    volumes = np.asarray(volumes_mm3, dtype=np.float64)
    places = np.searchsorted(limits, volumes, side="right") - 1
    counts = np.bincount(places, minlength=len(limits))
    totals = np.bincount(places, volumes, minlength=len(limits))
    width = 100 / len(limits)
    return [
        Bar(
            text=SIZES[place][1],
            count=int(count),
            volume_mm3=float(total),
            x=place * width,
            width=width,
            share=float(count / max(1, counts.max())),
        )
        for place, (count, total) in enumerate(zip(counts, totals, strict=True))
    ]


def _log(volume: float) -> float:
    return math.log10(max(volume, _SMALLEST_ML))


def _rows(xs: Sequence[float]) -> list[int]:
    """Return the row of each dot, 0 in the middle, so that dots do not overlap where possible."""
    least = 100 * _DOT_PX / _ASSUMED_WIDTH_PX
    last_x: dict[int, float] = {}
    rows = [0] * len(xs)
    choices = sorted(range(-_MAX_ROWS, _MAX_ROWS + 1), key=abs)
    for place in sorted(range(len(xs)), key=lambda place: xs[place]):
        free = (row for row in choices if xs[place] - last_x.get(row, -math.inf) >= least)
        row = next(free, min(choices, key=lambda row: last_x.get(row, -math.inf)))
        rows[place], last_x[row] = row, xs[place]
    return rows
