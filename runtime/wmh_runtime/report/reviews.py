"""The marks of readers, in a table beside the report."""

from __future__ import annotations

from pathlib import Path

from wmh_runtime.files.tables import read_table
from wmh_runtime.outputs.paths import is_file
from wmh_runtime.report.links import as_utf8
from wmh_runtime.report.model import Review

REVIEWS_NAME = "reviews.tsv"
COLUMNS = ("scan", "output", "mask_sha256", "decision", "note", "reviewer", "time")
DECISIONS = {"accept": "a", "edit": "e", "exclude": "x"}  # with the key of each


def read_reviews(path: Path) -> list[Review]:
    """Read the marks; none if there is no file. Rows with an unknown decision are left out.

    Raises:
        InputError: the file cannot be read as a table.
    """
    if not is_file(path):
        return []
    rows = [
        {column: as_utf8(row.get(column, "")) for column in COLUMNS} for row in read_table(path)
    ]
    return [Review(**row) for row in rows if row["decision"] in ("", *DECISIONS)]
