"""Write the change of a subject. The JSON file comes last: if it is there, all files are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from wmh_runtime.change.measure import SubjectChange
from wmh_runtime.change.names import (
    change_picture_name,
    change_record_name,
    change_table_name,
    class_map_name,
    course_name,
)
from wmh_runtime.change.pair.interval import IntervalChange
from wmh_runtime.change.record import IntervalRecord
from wmh_runtime.change.report.course import course_svg
from wmh_runtime.change.report.picture import change_picture
from wmh_runtime.change.rules import CLASSES
from wmh_runtime.change.visits import Visit
from wmh_runtime.files.atomic import remove, write_bytes_atomically, write_text_atomically
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.tables import NOT_AVAILABLE, write_table_atomically
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.outputs.label_maps import write_label_map
from wmh_runtime.outputs.paths import LabelMapPaths
from wmh_runtime.outputs.tables.columns import Column

CHANGE_COLUMNS = (
    Column("subject", "Subject"),
    Column("earlier", "Label of the earlier visit"),
    Column("later", "Label of the later visit"),
    Column("lesion", "Number of the lesion in this interval, the largest first"),
    Column("class", "Class of the change", levels=dict.fromkeys(CLASSES, "see docs/change.md")),
    Column("before_mm3", "Volume at the earlier visit, in the halfway space", "mm^3"),
    Column("after_mm3", "Volume at the later visit, in the halfway space", "mm^3"),
    Column("change_mm3", "Difference of both", "mm^3"),
    Column("uncertainty_mm3", "What the difference rarely exceeds without a change", "mm^3"),
    Column("x_mm", "Center at the later visit, x of the scanner (RAS+)", "mm"),
    Column("y_mm", "Center at the later visit, y of the scanner (RAS+)", "mm"),
    Column("z_mm", "Center at the later visit, z of the scanner (RAS+)", "mm"),
    Column("location", "Location in the brain; n/a: not known"),
)
_CLASS_COLUMNS = (
    Column("index", "Number of the class in the image", format="integer"),
    Column("name", "Class of the change since the earlier visit"),
)


def write_change(change: SubjectChange, visits: Sequence[Visit], folder: Path) -> Path:
    """Write table, label maps, pictures, plot and JSON file; replace earlier ones.

    Args:
        change: of the subject.
        visits: of the subject. Each label map is beside the mask of the later visit.
        folder: for all other files.

    Returns:
        The path of the JSON file.

    Raises:
        InputError: a file cannot be written.
    """
    make_folder(folder)
    record = change.record
    subject = record.subject
    to = folder / change_record_name(subject)
    remove(to)  # while it is there, all files are those of one run
    rows = []
    for later, scan, interval, described in zip(
        visits[1:], change.scans, change.intervals, record.intervals, strict=True
    ):
        _write_class_map(later, scan, interval, described, subject)
        write_bytes_atomically(
            folder / change_picture_name(subject, described.later),
            change_picture(interval, described, subject),
        )
        rows += _rows(subject, interval, described)
    table = folder / change_table_name(subject)
    names = [column.name for column in CHANGE_COLUMNS]
    write_table_atomically(table, rows, delimiter="\t", columns=names)
    write_text_atomically(folder / course_name(subject), course_svg(record) + "\n")
    write_text_atomically(to, record.model_dump_json(indent=2) + "\n")
    return to


def files_of_change(folder: Path, subject: str, visits: Sequence[Visit]) -> list[Path]:
    """Return all files that `write_change` writes."""
    names = [change_record_name(subject), change_table_name(subject), course_name(subject)]
    names += [change_picture_name(subject, later.label) for later in visits[1:]]
    maps = (_class_map_paths(subject, later).files for later in visits[1:])
    return [*(folder / name for name in names), *chain.from_iterable(maps)]


def _class_map_paths(subject: str, later: Visit) -> LabelMapPaths:
    return LabelMapPaths(later.mask.parent / class_map_name(subject, later.label))


def _write_class_map(
    later: Visit, scan: Scan, interval: IntervalChange, described: IntervalRecord, subject: str
) -> None:
    description = {
        "Description": f"Change of lesions since {described.earlier}, in halfway space",
        "SpatialReference": "orig",
        "Sources": [later.scan.name],
    }
    rows = [{"index": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
    to = _class_map_paths(subject, later)
    write_label_map(scan, interval.class_map, _CLASS_COLUMNS, rows, description, to)


def _rows(
    subject: str, interval: IntervalChange, described: IntervalRecord
) -> list[dict[str, object]]:
    """Return a row for each lesion, largest first."""
    matched = interval.matched
    count = len(matched.before_mm3)
    rows: list[dict[str, object]] = []
    for index in range(count):
        before_mm3, after_mm3 = matched.before_mm3[index], matched.after_mm3[index]
        x_mm, y_mm, z_mm = interval.centers_mm[index]
        values = (
            *(subject, described.earlier, described.later, index + 1, matched.classes[index]),
            *(f"{before_mm3:.1f}", f"{after_mm3:.1f}", f"{after_mm3 - before_mm3:.1f}"),
            f"{matched.uncertainty_mm3[index]:.1f}",
            *(f"{x_mm:.1f}", f"{y_mm:.1f}", f"{z_mm:.1f}"),
            interval.locations[index] if interval.locations else NOT_AVAILABLE,
        )
        rows.append(dict(zip((one.name for one in CHANGE_COLUMNS), values, strict=True)))
    return rows
