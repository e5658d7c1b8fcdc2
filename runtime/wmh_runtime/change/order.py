"""The order of visits: by date if all dates are known, else by their labels as people count."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wmh_runtime.change.visits import Visit


def natural_key(label: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Return a key to sort labels by: `ses-2` comes before `ses-10`, `baseline` after both."""
    parts = re.findall(r"[0-9]+|[^0-9]+", label)
    numbered = [
        (False, int(part), "") if part.isascii() and part.isdigit() else (True, 0, part)
        for part in parts
    ]
    return numbered, label


def in_order(visits: Iterable[Visit]) -> list[Visit]:
    """Return visits, earliest first."""
    by_label = sorted(visits, key=lambda visit: natural_key(visit.label))
    dates = [visit.date for visit in by_label if visit.date is not None]
    if len(dates) < len(by_label):
        return by_label
    return [visit for _, visit in sorted(zip(dates, by_label, strict=True), key=lambda one: one[0])]
