"""The change of each subject over time, as the report shows it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from markupsafe import Markup

from wmh_runtime.change.record import ChangeRecord, IntervalRecord
from wmh_runtime.change.report.course import course_svg
from wmh_runtime.change.rules import CLASSES
from wmh_runtime.dataset.bids import LONGITUDINAL, change_picture_name, change_table_name
from wmh_runtime.files.reading import is_file
from wmh_runtime.report.links import link_to
from wmh_runtime.report.model import ChangeEntry, ChangeRow
from wmh_runtime.text import as_utf8


def change_entries(out: Path, changes: Iterable[ChangeRecord]) -> list[ChangeEntry]:
    """Say what the report shows of the changes in an output folder."""
    return [
        ChangeEntry(
            subject=as_utf8(record.subject),
            course=Markup(course_svg(record)),  # it escapes the labels
            rows=[_row(interval, record.subject, out) for interval in record.intervals],
            warnings=[as_utf8(one) for one in record.warnings],
            table=_link(change_table_name(record.subject), out),
        )
        for record in changes
    ]


def _row(interval: IntervalRecord, subject: str, out: Path) -> ChangeRow:
    return ChangeRow(
        earlier=as_utf8(interval.earlier),
        later=as_utf8(interval.later),
        change_ml=interval.change_ml,
        uncertainty_ml=interval.uncertainty_ml,
        counts=[interval.classes[name].count for name in CLASSES],
        picture=_link(change_picture_name(subject, interval.later), out),
    )


def _link(name: str, out: Path) -> str:
    file = LONGITUDINAL / name
    return link_to(file) if is_file(out / file) else ""
