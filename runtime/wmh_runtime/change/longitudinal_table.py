"""A table of visits, for scans in any folder layout.

    subject, visit,    date,       scan
    P1,      baseline, 2019-03-14, a/P1_first.nii.gz
    P1,      month12,  2020-03-20, b/P1_second.nii.gz

Paths are relative to the table. The column `date` may be missing, and its cells may be empty.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from wmh_runtime.dataset.bids import is_usable
from wmh_runtime.errors import InputError
from wmh_runtime.files.reading import is_file, real_path
from wmh_runtime.files.tables import FIRST_ROW, MISSING_CELLS, read_table

_COLUMNS = ("subject", "visit", "scan")


@dataclass(frozen=True)
class TableVisit:
    """A row of the table."""

    subject: str
    label: str
    date: date | None
    scan: Path


def read_longitudinal_table(path: Path) -> dict[str, list[TableVisit]]:
    """Read a table of visits.

    Args:
        path: .csv or .tsv file.

    Returns:
        Subject → visits, in the order of the table. Subjects with one visit are there, too.

    Raises:
        InputError: the table cannot be read, lacks a column or a cell, has a visit or a scan twice,
            a date that is not one, a name that cannot be part of a file name, or a scan that does
            not exist.
    """
    rows = read_table(path)
    if not rows:
        raise InputError("contains no visit", "Add one row for each scan.", about=path)
    if missing := [column for column in _COLUMNS if column not in rows[0]]:
        problem = f"has the columns {', '.join(rows[0])}, but not {', '.join(missing)}"
        raise InputError(problem, "Add the columns subject, visit and scan.", about=path)
    visits: defaultdict[str, list[TableVisit]] = defaultdict(list)
    row_of: dict[object, int] = {}
    for number, row in enumerate(rows, start=FIRST_ROW):
        visit = _visit_of(row, number, path)
        for key, words in (
            ((visit.subject, visit.label), f"the visit {visit.label} of {visit.subject}"),
            (real_path(visit.scan), f"the scan {row['scan']}"),
        ):
            if key in row_of:
                problem = f"rows {row_of[key]} and {number} both have {words}"
                raise InputError(problem, "Give it once.", about=path)
            row_of[key] = number
        visits[visit.subject].append(visit)
    _require_all_dates(visits, path)
    return dict(visits)


def date_of(text: str) -> date | None:
    """Return the day at the beginning of a text such as 2019-03-14T09:30; None if it is none."""
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def _visit_of(row: Mapping[str, str], number: int, table: Path) -> TableVisit:
    for column in _COLUMNS:
        if row[column] in MISSING_CELLS:
            raise InputError(f"row {number} has no {column}", "Fill it in.", about=table)
    for column in ("subject", "visit"):
        if not is_usable(row[column]):
            problem = (
                f"row {number} has the {column} {row[column]!r}, which cannot be part of a file"
                " name"
            )
            advice = "Use letters, digits, dots, hyphens and underscores."
            raise InputError(problem, advice, about=table)
    text = row.get("date", "")
    day = None if text in MISSING_CELLS else date_of(text)
    if day is None and text not in MISSING_CELLS:
        problem = f"row {number} has the date {text!r}"
        raise InputError(problem, "Write dates as 2019-03-14.", about=table)
    scan = Path(row["scan"])
    if not is_file(table.parent / scan):
        problem = f"row {number} contains {scan}, which does not exist"
        raise InputError(problem, "Paths are relative to the table.", about=table)
    return TableVisit(row["subject"], row["visit"], day, table.parent / scan)


def _require_all_dates(visits: Mapping[str, Sequence[TableVisit]], table: Path) -> None:
    """Refuse a subject with some dates: the order of its visits would be in doubt."""
    for subject, rows in visits.items():
        missing = [row.label for row in rows if row.date is None]
        if missing and len(missing) < len(rows):
            named = ", ".join(missing)
            problem = f"has dates for some visits of {subject}, but not for the visit {named}"
            raise InputError(problem, "Give all dates of a subject, or none.", about=table)
