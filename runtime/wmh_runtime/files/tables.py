"""Read and write tables, .csv and .tsv."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import write_text_atomically


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
    """Read a table with column names in the first line, `.tsv` with tabs, others with commas.

    Returns:
        One mapping, column → cell, for each row that is not empty. Spaces around cells are
        removed. Missing cells at the end of a row are empty.

    Raises:
        InputError: the file cannot be read as a table of UTF-8 text.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = list(csv.reader(file, delimiter=delimiter)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problem = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        raise InputError(problem, "Save the table as UTF-8 text.", about=path) from error
    columns = [column.strip() for column in header]
    blank = [""] * len(columns)
    return [
        dict(zip(columns, [*map(str.strip, row), *blank], strict=False)) for row in rows if any(row)
    ]
