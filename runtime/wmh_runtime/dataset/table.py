"""A table or a list of scans, for files in any folder layout.

A table, .csv or .tsv, has one column for each channel:

    flair,           t1
    a/FLAIR.nii.gz,  a/T1.nii.gz
    b/FLAIR.nii.gz,

A list, .txt, has the path of a scan in each line. Empty lines, and lines that begin with #, are
left out. Paths are relative to the file. An empty cell, or n/a, means that there is no such image.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import InputError
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.files.reading import is_file, real_path
from wmh_runtime.files.tables import FIRST_ROW, MISSING_CELLS, read_table
from wmh_runtime.text import count_noun

LIST_SUFFIX = ".txt"
_SHOWN = 5  # missing files in a message


def cases_of_table(table: Path, channels: Sequence[str]) -> tuple[Case, ...]:
    """Read the scans of a table or a list, in its order.

    Results are named after the scan, the first image of a row. Of scans outside the folder of the
    table, the folders above it are left out of the name.

    Args:
        table: .csv, .tsv or .txt file.
        channels: of the model; other columns are ignored. A list is of the first one.

    Raises:
        InputError: the table cannot be read, has no column of a channel, or names a file that does
            not exist; or a row has no image.
    """
    is_list = table.suffix.lower() == LIST_SUFFIX
    rows = _numbered_lines(table, channels[0]) if is_list else _numbered_rows(table)
    if not rows:
        raise InputError("contains no scan", "Add one row for each scan.", about=table)
    channels = channels[:1] if is_list else channels
    _, first = rows[0]
    if missing := [channel for channel in channels if channel not in first]:
        problem = f"has the columns {', '.join(first)}, but not {', '.join(missing)}"
        advice = "Add one column for each channel; leave cells empty where there is no image."
        raise InputError(problem, advice, about=table)
    images_of_rows = [
        {channel: Path(row[channel]) for channel in channels if row[channel] not in MISSING_CELLS}
        for _, row in rows
    ]
    numbers = [number for number, _ in rows]
    _require_images(numbers, images_of_rows, table)
    cases: list[Case] = []
    for images in images_of_rows:
        (channel, path), *others = images.items()
        further = {name: table.parent / other for name, other in others}
        cases.append(Case(table.parent / path, relative_name(path), channel, further))
    return tuple(cases)


def _require_images(
    numbers: Sequence[int], images_of_rows: Sequence[Mapping[str, Path]], table: Path
) -> None:
    """Refuse a row without an image, an image twice, and files that do not exist, all at once."""
    row_of: dict[Path, int] = {}
    missing = []
    for number, images in zip(numbers, images_of_rows, strict=True):
        if not images:
            raise InputError(f"row {number} has no image", "Fill it in, or remove it.", about=table)
        for path in images.values():
            file = real_path(table.parent / path)
            if file in row_of:
                problem = f"rows {row_of[file]} and {number} both contain {path}"
                raise InputError(problem, "Give each image once.", about=table)
            row_of[file] = number
            if not is_file(table.parent / path):
                missing.append(f"{path} in row {number}")
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (", …" if missing[_SHOWN:] else "")
        count = count_noun(len(missing), "file")
        problem = f"contains {count} that cannot be found: {shown}"
        raise InputError(problem, "Paths are relative to the table or list.", about=table)


def _numbered_rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    return list(enumerate(read_table(table), start=FIRST_ROW))


def _numbered_lines(path: Path, channel: str) -> list[tuple[int, dict[str, str]]]:
    """Return each line of a list as a row of one column."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read ({reason_of(error)})"
        raise InputError(problem, "Save it as UTF-8 text, a path a line.", about=path) from error
    numbered = enumerate(map(str.strip, lines), start=1)
    return [(number, {channel: line}) for number, line in numbered if line and line[0] != "#"]


def relative_name(path: Path) -> Path:
    """Return the name of a scan of a table: its path without the folders above the table."""
    parts = Path(os.path.normpath(path)).parts
    above = (Path(path).anchor, "..")
    return Path(*(part for part in parts if part not in above))
