"""The change of each subject over time, as the report shows it."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from wmh_runtime.change.names import change_picture_name, change_record_name, change_table_name
from wmh_runtime.change.record import ChangeRecord, IntervalRecord, read_change_record
from wmh_runtime.change.report.course import course_svg
from wmh_runtime.change.rules import CLASSES
from wmh_runtime.files.reading import is_file
from wmh_runtime.report.links import link_to
from wmh_runtime.report.model import ChangeEntry, ChangeRow
from wmh_runtime.text import as_utf8


def change_entries(out: Path) -> list[ChangeEntry]:
    """Gather the changes that were measured in an output folder, sorted by subject."""
    entries = []
    for path in sorted(out.rglob(f"*{change_record_name('')}")):
        if (record := read_change_record(path)) is not None:
            entries.append(_entry(record, path.parent.relative_to(out), out))
    return sorted(entries, key=lambda entry: entry.subject)


def _entry(record: ChangeRecord, folder: Path, out: Path) -> ChangeEntry:
    return ChangeEntry(
        subject=as_utf8(record.subject),
        course=Markup(course_svg(record)),  # it escapes the labels
        rows=[_row(interval, record.subject, folder, out) for interval in record.intervals],
        warnings=[as_utf8(one) for one in record.warnings],
        table=_link(folder / change_table_name(record.subject), out),
    )


def _row(interval: IntervalRecord, subject: str, folder: Path, out: Path) -> ChangeRow:
    return ChangeRow(
        earlier=as_utf8(interval.earlier),
        later=as_utf8(interval.later),
        change_ml=interval.change_ml,
        uncertainty_ml=interval.uncertainty_ml,
        counts=[interval.classes[name].count for name in CLASSES],
        picture=_link(folder / change_picture_name(subject, interval.later), out),
    )


def _link(file: Path, out: Path) -> str:
    return link_to(file) if is_file(out / file) else ""
