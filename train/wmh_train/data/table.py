"""A table of annotated scans, for files in any other folder layout.

    name, subject, site,    flair,           wmh
    a,    anna,    Leipzig, scans/17.nii.gz, masks/17.nii.gz
    b,    anna,    Leipzig, scans/18.nii.gz,

The table has one column per channel and per output of the recipe, with paths relative to the
table. An empty cell means that there is no mask. The columns of regions, and `name`, `subject` and
`site` are optional: by default the name is the BIDS name of the first channel's file, and the
subject is taken from the name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from wmh_runtime.dataset import bids
from wmh_runtime.dataset.subjects import subject_from_name
from wmh_runtime.errors import RecipeError
from wmh_runtime.files.tables import FIRST_ROW, TABLE_SUFFIXES, read_table
from wmh_runtime.text import count_noun
from wmh_train.data.annotated import AnnotatedScan

Row = Mapping[str, str]


def scans_of_table(
    table: Path, channels: Sequence[str], outputs: Sequence[str], regions: Sequence[str] = ()
) -> tuple[list[AnnotatedScan], list[str]]:
    """Read the scans of a table, in the order of its rows.

    Returns:
        All scans, and warnings for the user. If a row has no mask, the path of the reference is
        not a file.

    Raises:
        RecipeError: a column or a file is missing, or a name is invalid or occurs twice. Rows are
            numbered as in a spreadsheet, without empty rows.
        InputError: the table cannot be read.
    """
    if table.suffix.lower() not in TABLE_SUFFIXES:
        raise RecipeError("is not a table", "Give a .csv or .tsv file, or a folder.", about=table)
    rows = read_table(table)
    _require_columns(rows, (*channels, *outputs), table)
    scans: list[AnnotatedScan] = []
    row_of: dict[str, int] = {}
    for number, row in enumerate(rows, start=FIRST_ROW):
        _require_files(row, number, channels, (*outputs, *regions), table)
        name = row.get("name") or bids.bids_entities(Path(row[channels[0]]))
        _require_name(name, number, table)
        if name in row_of:
            problem = f"rows {row_of[name]} and {number} are both named {name}"
            raise RecipeError(problem, "Add a column `name` with unique names.", about=table)
        row_of[name] = number
        scans.append(
            AnnotatedScan(
                name=name,
                subject=row.get("subject") or subject_from_name(name),
                site=row.get("site") or "",
                channels=tuple(table.parent / row[column] for column in channels),
                references=tuple(table.parent / row[column] for column in outputs),
                regions=tuple(
                    table.parent / row[column] if row.get(column) else None for column in regions
                ),
            )
        )
    return scans, _subject_warnings(rows, scans, table)


def _subject_warnings(
    rows: Sequence[Row], scans: Sequence[AnnotatedScan], table: Path
) -> list[str]:
    """Warn if scans of one subject may be in both training and test, as the column is missing."""
    missing = sum(
        not row.get("subject") and subject_from_name(scan.name) == scan.name
        for row, scan in zip(rows, scans, strict=True)
    )
    if not missing:
        return []
    return [
        f"{table}: {missing} of {count_noun(len(rows), 'row')} have no subject, neither in a column"
        " nor in their name (sub-… or …_ses-…); each of them counts as a separate subject"
    ]


def _require_name(name: str, number: int, table: Path) -> None:
    """Refuse a name that is not a plain relative path, because masks are named after it."""
    parts = PurePosixPath(name).parts
    if "/".join(parts) != name or ".." in parts:
        problem = f"row {number} has the name {name}, expected a name such as a or site/a"
        raise RecipeError(problem, "Change it: masks are named after it.", about=table)


def _require_columns(rows: Sequence[Row], required: Sequence[str], table: Path) -> None:
    if not rows:
        raise RecipeError("contains no scan", "Add one row per scan.", about=table)
    missing = [column for column in required if column not in rows[0]]
    if missing:
        problem = f"has the columns {', '.join(rows[0])}, but not {', '.join(missing)}"
        raise RecipeError(problem, "Add one column per channel and output.", about=table)


def _require_files(
    row: Row, number: int, channels: Sequence[str], masks: Sequence[str], table: Path
) -> None:
    for column in (*channels, *masks):
        if not row.get(column) and column in channels:
            raise RecipeError(f"row {number} has no {column}", "Fill it in.", about=table)
        if row.get(column) and not (table.parent / row[column]).is_file():
            problem = f"row {number} contains {row[column]}, which does not exist"
            raise RecipeError(problem, "Paths are relative to the table.", about=table)
