"""`changes.csv`: one row for each interval of each subject of a folder of results."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from wmh_runtime.change.record import ChangeRecord, IntervalRecord
from wmh_runtime.change.rules import CLASSES
from wmh_runtime.outputs.tables.columns import Column, write_table_of
from wmh_runtime.outputs.tables.results import CHANGES_NAME
from wmh_runtime.outputs.tables.volumes import SEPARATOR

CHANGES_COLUMNS = (
    Column("subject", "Subject, as the names of the scans or the table of visits say"),
    Column("earlier", "Label of the earlier visit"),
    Column("later", "Label of the later visit"),
    Column("earlier_scan", "Path of the earlier scan, as in volumes.csv"),
    Column("later_scan", "Path of the later scan, as in volumes.csv"),
    Column("days", "Days from the earlier to the later visit; empty: a date is not known", "day"),
    Column("before_ml", "Volume of the earlier mask, where both scans show something", "mL"),
    Column("after_ml", "Volume of the later mask, where both scans show something", "mL"),
    Column("change_ml", "From the earlier to the later volume", "mL"),
    Column("change_percent", "Change in percent of the earlier volume; empty: it is 0", "percent"),
    Column("uncertainty_ml", "What the change rarely exceeds in scans of an unchanged head", "mL"),
    *(
        column
        for name in CLASSES
        for column in (
            Column(f"{name}_count", f"Number of {name} lesions", format="integer"),
            Column(
                f"{name}_change_ml", f"Change of {name} lesions, by voxels of the masks", units="mL"
            ),
        )
    ),
    Column("warnings", "What to be careful with; several are separated by |"),
)


def write_changes(out: Path, changes: Sequence[ChangeRecord]) -> None:
    """Write the table and its dictionary; without changes, remove both.

    Raises:
        InputError: a file cannot be written.
    """
    rows = [
        _row(record.subject, interval, [visit.scan for visit in visits])
        for record in changes
        for interval, visits in zip(record.intervals, pairwise(record.visits), strict=True)
    ]
    write_table_of(out / CHANGES_NAME, CHANGES_COLUMNS, rows)


def _row(subject: str, interval: IntervalRecord, scans: Sequence[str]) -> dict[str, object]:
    percent = interval.change_percent
    row: dict[str, object] = {
        "subject": subject,
        "earlier": interval.earlier,
        "later": interval.later,
        "earlier_scan": scans[0],
        "later_scan": scans[1],
        "days": "" if interval.days is None else interval.days,
        "before_ml": f"{interval.before_ml:.4f}",
        "after_ml": f"{interval.after_ml:.4f}",
        "change_ml": f"{interval.change_ml:.4f}",
        "change_percent": "" if percent is None else f"{percent:.2f}",
        "uncertainty_ml": f"{interval.uncertainty_ml:.4f}",
        "warnings": SEPARATOR.join(interval.warnings),
    }
    for name in CLASSES:
        of_class = interval.classes[name]
        row[f"{name}_count"] = of_class.count
        row[f"{name}_change_ml"] = f"{of_class.after_ml - of_class.before_ml:.4f}"
    return row
