"""Tables of text, .csv and .tsv: read and written."""

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
    """Write rows, at least one, under the names of the first one's columns.

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
    """Read a table with a line that names the columns, `.tsv` with tabs, any other with commas.

    Returns:
        Its rows, empty ones left out: column → cell, without the spaces around it. Cells that a
        short row lacks are empty.

    Raises:
        InputError: it cannot be read as a table of UTF-8 text.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = list(csv.reader(file, delimiter=delimiter)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problem = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        raise InputError(problem, "Save it as text in UTF-8.", about=path) from error
    columns = [column.strip() for column in header]
    blank = [""] * len(columns)
    return [
        dict(zip(columns, [*map(str.strip, row), *blank], strict=False)) for row in rows if any(row)
    ]
