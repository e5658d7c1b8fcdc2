"""Read and write tables, .csv and .tsv."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.os_errors import reason_of


def write_table_atomically(
    final: Path, rows: Sequence[Mapping[str, object]], delimiter: str = ","
) -> None:
    """Write a table of at least one row. The keys of the first row are the column names.

    Raises:
        InputError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomically(final, text.getvalue())


TABLE_SUFFIXES = (".csv", ".tsv")


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
        dict(zip(columns, [*map(str.strip, row), *blank], strict=False)) for row in rows if any(row)
    ]
