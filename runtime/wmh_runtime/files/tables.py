"""Read and write tables, .csv and .tsv."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.os_errors import reason_of


def write_table_atomically(
    final: Path,
    rows: Sequence[Mapping[str, object]],
    delimiter: str = ",",
    columns: Sequence[str] | None = None,
) -> None:
    """Write a table. Texts that a spreadsheet program would run as a formula get an apostrophe.

    Args:
        final: the file.
        rows: column → cell.
        delimiter: between cells.
        columns: their names in order; None: the keys of the first row, of which there must be one.

    Raises:
        InputError: the file cannot be written.
    """
    text = io.StringIO()
    names = list(rows[0]) if columns is None else list(columns)
    writer = csv.DictWriter(text, names, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: as_plain_cell(cell) for name, cell in row.items()} for row in rows)
    write_text_atomically(final, text.getvalue())


TABLE_SUFFIXES = (".csv", ".tsv")
NOT_AVAILABLE = "n/a"  # BIDS: an unknown value
MISSING_CELLS = ("", NOT_AVAILABLE)
FIRST_ROW = 2  # as in a spreadsheet; row 1 has the column names
_APOSTROPHE = "'"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def as_plain_cell(cell: object) -> object:
    """Return a cell that spreadsheet programs take as text, by an apostrophe before a formula.

    A text that begins with an apostrophe gets one, too, so that `text_of_plain_cell` can undo this.
    Numbers stay as they are.
    """
    if not isinstance(cell, str) or _NUMBER.fullmatch(cell):
        return cell
    return f"{_APOSTROPHE}{cell}" if cell.startswith((*_FORMULA_STARTS, _APOSTROPHE)) else cell


def text_of_plain_cell(cell: str) -> str:
    """Undo `as_plain_cell`; other cells stay as they are."""
    is_marked = cell[:1] == _APOSTROPHE and cell[1:].startswith((*_FORMULA_STARTS, _APOSTROPHE))
    return cell[1:] if is_marked else cell


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a table with column names in the first line.

    A `.tsv` has tabs between the cells. In others it is what the first line has most of: commas,
    semicolons (spreadsheet programs of many countries) or tabs.

    Returns:
        One mapping, column → cell, for each row that is not empty. Names of columns are in lower
        case. Spaces around cells are removed. Missing cells at the end of a row are empty.

    Raises:
        InputError: the file cannot be read as a table of UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        first_line = text.partition("\n")[0]
        delimiters = ("\t",) if path.suffix.lower() == ".tsv" else (",", ";", "\t")
        delimiter = max(delimiters, key=first_line.count)
        header, *rows = list(csv.reader(io.StringIO(text), delimiter=delimiter)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problem = f"cannot be read ({reason_of(error)})"
        is_found = not isinstance(error, OSError)
        advice = "Save the table as UTF-8 text." if is_found else "Check path and permissions."
        raise InputError(problem, advice, about=path) from error
    columns = [column.strip().lower() for column in header]
    blank = [""] * len(columns)
    return [
        dict(zip(columns, [*map(_read_cell, row), *blank], strict=False))
        for row in rows
        if any(row)
    ]


def _read_cell(cell: str) -> str:
    return text_of_plain_cell(cell.strip())
