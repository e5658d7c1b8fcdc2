"""A table of annotated scans, for files that lie in no layout this program knows.

    name,   person, site,    flair,              wmh
    a,      anna,   Leipzig, scans/17.nii.gz,    masks/17.nii.gz
    b,      anna,   Leipzig, scans/18.nii.gz,

One column for each channel and each output of the recipe, with paths relative to the table; an
empty mask means that there is none. `name`, `person` and `site` may be left out: the name is then
the first channel's, as in BIDS, and the person the one in the name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from wmh_runtime.dataset import bids
from wmh_runtime.dataset.subjects import person_of
from wmh_runtime.errors import RecipeError
from wmh_runtime.files.tables import TABLE_SUFFIXES, read_table
from wmh_runtime.text import count_noun
from wmh_train.data.annotated import AnnotatedScan

Row = Mapping[str, str]

_FIRST_ROW = 2  # as a spreadsheet counts: the names of the columns are row 1


def scans_of_table(
    table: Path, channels: Sequence[str], outputs: Sequence[str]
) -> tuple[list[AnnotatedScan], list[str]]:
    """Read a table of scans, in its order.

    Returns:
        All scans; where a row gives no mask, the path of the reference is that of no file. And
        what a user should know.

    Raises:
        RecipeError: a column or a file is missing, or a name is there twice or is no name. Rows
            are counted as a spreadsheet does, empty ones left out.
        InputError: the table cannot be read.
    """
    if table.suffix.lower() not in TABLE_SUFFIXES:
        raise RecipeError("is no table", "Give a .csv or .tsv file, or a folder.", about=table)
    rows = read_table(table)
    _require_columns(rows, (*channels, *outputs), table)
    scans: list[AnnotatedScan] = []
    row_of: dict[str, int] = {}
    for number, row in enumerate(rows, start=_FIRST_ROW):
        _require_files(row, number, channels, outputs, table)
        name = row.get("name") or bids.bids_entities(Path(row[channels[0]]))
        _require_name(name, number, table)
        if name in row_of:
            problem = f"rows {row_of[name]} and {number} are both named {name}"
            raise RecipeError(problem, "Give a column `name`, each once.", about=table)
        row_of[name] = number
        scans.append(
            AnnotatedScan(
                name=name,
                person=row.get("person") or person_of(name),
                site=row.get("site") or "",
                channels=tuple(table.parent / row[column] for column in channels),
                references=tuple(table.parent / row[column] for column in outputs),
            )
        )
    return scans, _notes_on_persons(rows, table)


def _notes_on_persons(rows: Sequence[Row], table: Path) -> list[str]:
    """Say where a person's scans may come to both sides of a split for want of a column."""
    silent = sum(not row.get("person") for row in rows)
    if not silent:
        return []
    return [
        f"{table}: {silent} of {count_noun(len(rows), 'row')} give no person; each counts as a"
        " person of its own, unless its name says sub-… or …_ses-…"
    ]


def _require_name(name: str, number: int, table: Path) -> None:
    """Refuse a name that would lead a mask out of the folder of predictions."""
    parts = PurePosixPath(name).parts
    if "/".join(parts) != name or ".." in parts:
        problem = f"row {number} has the name {name}, expected one such as a or site/a"
        raise RecipeError(problem, "Masks are named by it.", about=table)


def _require_columns(rows: Sequence[Row], required: Sequence[str], table: Path) -> None:
    if not rows:
        raise RecipeError("names no scan", "Give a row for each.", about=table)
    missing = [column for column in required if column not in rows[0]]
    if missing:
        problem = f"has no column {', '.join(missing)}, but {', '.join(rows[0])}"
        raise RecipeError(problem, "Each channel and each output needs one.", about=table)


def _require_files(
    row: Row, number: int, channels: Sequence[str], outputs: Sequence[str], table: Path
) -> None:
    for column in (*channels, *outputs):
        if not row[column] and column in channels:
            raise RecipeError(f"row {number} gives no {column}", "Fill it in.", about=table)
        if row[column] and not (table.parent / row[column]).is_file():
            problem = f"row {number} names {row[column]}, which is not there"
            raise RecipeError(problem, "Paths are relative to the table.", about=table)
