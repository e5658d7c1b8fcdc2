"""Write the change of a subject. The JSON file comes last: if it is there, all files are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from wmh_runtime.change.pair.interval import IntervalChange
from wmh_runtime.change.record import ChangeRecord, IntervalRecord, read_change_record
from wmh_runtime.change.report.course import course_svg
from wmh_runtime.change.report.picture import change_picture
from wmh_runtime.change.rules import CLASSES
from wmh_runtime.change.visits import Visit
from wmh_runtime.dataset.bids import (
    CHANGE_SCHEME,
    LONGITUDINAL,
    bids_entities,
    change_picture_name,
    change_record_name,
    change_table_name,
    course_name,
    segmentation_name,
)
from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import remove, write_bytes_atomically, write_text_atomically
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.tables import NOT_AVAILABLE, write_table_atomically
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.outputs.label_maps import remove_label_map, write_label_map
from wmh_runtime.outputs.paths import LabelMapPaths
from wmh_runtime.outputs.tables.columns import Column

CHANGE_COLUMNS = (
    Column("subject", "Subject"),
    Column("earlier", "Label of the earlier visit"),
    Column("later", "Label of the later visit"),
    Column("lesion", "Number of the lesion in this interval, the largest first"),
    Column("class", "Class of the change", levels=dict.fromkeys(CLASSES, "see docs/change.md")),
    Column("before_mm3", "Volume of its voxels in the earlier mask", "mm^3"),
    Column("after_mm3", "Volume of its voxels in the later mask", "mm^3"),
    Column("halfway_before_mm3", "Volume at the earlier visit, in the halfway space", "mm^3"),
    Column("halfway_after_mm3", "Volume at the later visit, in the halfway space", "mm^3"),
    Column(
        "uncertainty_mm3",
        "What the difference of both volumes in the halfway space rarely exceeds without a change",
        "mm^3",
    ),
    Column("x_mm", "Center at the later visit, x of the scanner (RAS+)", "mm"),
    Column("y_mm", "Center at the later visit, y of the scanner (RAS+)", "mm"),
    Column("z_mm", "Center at the later visit, z of the scanner (RAS+)", "mm"),
    Column("location", "Location in the brain; n/a: not known"),
)
_CLASS_COLUMNS = (
    Column("index", "Number of the class in the image", format="integer"),
    Column("name", "Class of the change since the earlier visit"),
)


class ChangeWriter:
    """Writes the change of a subject: an interval at a time, then what is of all of them.

    Args:
        subject: such as `sub-1`; part of file names.
        out: folder of results. The label maps are beside the masks of the later visits.
    """

    def __init__(self, subject: str, out: Path) -> None:
        self._subject = subject
        self._folder = out / LONGITUDINAL
        self._rows: list[dict[str, object]] = []
        make_folder(self._folder)
        remove_change(out, subject)  # while there is a record, all files are those of one run

    def write_interval(
        self, later: Visit, scan: Scan, interval: IntervalChange, record: IntervalRecord
    ) -> None:
        """Write label map and picture of an interval; InputError if a file cannot be written."""
        _write_class_map(later, scan, interval, record)
        picture = self._folder / change_picture_name(self._subject, record.later)
        write_bytes_atomically(picture, change_picture(interval, record, self._subject))
        self._rows += _rows(self._subject, interval, record)

    def finish(self, record: ChangeRecord) -> None:
        """Write table, plot and JSON file; InputError if a file cannot be written."""
        names = [column.name for column in CHANGE_COLUMNS]
        table = self._folder / change_table_name(self._subject)
        write_table_atomically(table, self._rows, delimiter="\t", columns=names)
        course = self._folder / course_name(self._subject)
        write_text_atomically(course, course_svg(record) + "\n")
        to = self._folder / change_record_name(self._subject)
        write_text_atomically(to, record.model_dump_json(indent=2) + "\n")


def files_of_change(out: Path, subject: str, visits: Sequence[Visit]) -> list[Path]:
    """Return all files that `ChangeWriter` writes."""
    maps = (_class_map_paths(later).files for later in visits[1:])
    labels = [later.label for later in visits[1:]]
    return [*_files_of_subject(out, subject, labels), *chain.from_iterable(maps)]


def remove_change(out: Path, subject: str) -> None:
    """Remove the files of an earlier run, as its record names them.

    Raises:
        InputError: a file cannot be removed.
    """
    record = read_change_record(out / LONGITUDINAL / change_record_name(subject))
    if record is None:
        return
    for later in record.visits[1:]:
        scan = Path(later.scan)
        name = segmentation_name(bids_entities(scan), CHANGE_SCHEME)
        remove_label_map(LabelMapPaths(out / scan.parent / name))
    for file in _files_of_subject(out, subject, [later.label for later in record.visits[1:]]):
        remove(file)


def _files_of_subject(out: Path, subject: str, later: Sequence[str]) -> list[Path]:
    names = [change_table_name(subject), course_name(subject)]
    names += [change_picture_name(subject, label) for label in later]
    return [out / LONGITUDINAL / name for name in (*names, change_record_name(subject))]


def _class_map_paths(later: Visit) -> LabelMapPaths:
    """Name the label map after the scan, as all results of a scan are."""
    name = segmentation_name(bids_entities(later.scan), CHANGE_SCHEME)
    return LabelMapPaths(later.mask.parent / name)


def _write_class_map(
    later: Visit, scan: Scan, interval: IntervalChange, record: IntervalRecord
) -> None:
    description = {
        "Description": f"Change of lesions since {record.earlier}, on the grid of this scan",
        "SpatialReference": "orig",
        "Sources": [later.scan.name],
    }
    rows = [{"index": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
    to = _class_map_paths(later)
    if to.hold_foreign_files:
        problem = "would replace an image that this program did not write"
        raise InputError(problem, "Move or rename it.", about=to.image)
    write_label_map(scan, interval.class_map, _CLASS_COLUMNS, rows, description, to)


def _rows(
    subject: str, interval: IntervalChange, described: IntervalRecord
) -> list[dict[str, object]]:
    """Return a row for each lesion, largest first."""
    matched = interval.matched
    count = len(matched.before_mm3)
    volumes = [mask.lesions_mm3 for mask in interval.masks]
    volumes += [matched.before_mm3, matched.after_mm3, matched.uncertainty_mm3]
    rows: list[dict[str, object]] = []
    for index in range(count):
        x_mm, y_mm, z_mm = interval.centers_mm[index]
        values = (
            *(subject, described.earlier, described.later, index + 1, matched.classes[index]),
            *(f"{volume[index]:.1f}" for volume in volumes),
            *(f"{x_mm:.1f}", f"{y_mm:.1f}", f"{z_mm:.1f}"),
            (interval.locations[index] if interval.locations else "") or NOT_AVAILABLE,
        )
        rows.append(dict(zip((one.name for one in CHANGE_COLUMNS), values, strict=True)))
    return rows
