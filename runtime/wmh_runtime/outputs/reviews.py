"""Marks of readers: which results to use, to correct, or to leave out.

The report saves them as `reviews.tsv`. A mark belongs to the mask that was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_runtime.files.reading import is_file
from wmh_runtime.files.tables import FIRST_ROW, read_table
from wmh_runtime.text import as_utf8

REVIEWS_NAME = "reviews.tsv"
REVIEW_COLUMNS = ("scan", "output", "mask_sha256", "decision", "note", "reviewer", "time")
ACCEPT, EDIT, EXCLUDE = "accept", "edit", "exclude"
DECISIONS = {
    ACCEPT: "the mask can be used as it is",
    EDIT: "the mask needs a correction",
    EXCLUDE: "the scan cannot be used",
}
_NEEDED = ("scan", "decision")


@dataclass(frozen=True)
class Review:
    """A mark of a reader. All texts can be written as UTF-8."""

    scan: str  # path, as in the tables
    output: str
    mask_sha256: str  # of the mask that was looked at; empty: not known
    decision: str  # of `DECISIONS`; empty: only a note
    note: str
    reviewer: str
    time: str  # ISO 8601


Reviews = Mapping[tuple[str, str], Review]  # by scan and output


def read_reviews(path: Path, *, is_optional: bool = False) -> Reviews:
    """Read marks. Of several for one result, the last one counts.

    Args:
        path: the file.
        is_optional: if there is no file, there are no marks.

    Raises:
        InputError: the file cannot be read as a table, lacks a column, or has another decision.
    """
    if is_optional and not is_file(path):
        return {}
    rows = read_table(path)
    if rows and (missing := [column for column in _NEEDED if column not in rows[0]]):
        problem = f"has the columns {', '.join(rows[0])}, but not {', '.join(missing)}"
        raise InputError(problem, "Give the file that the report saved.", about=path)
    reviews = {}
    for number, row in enumerate(rows, start=FIRST_ROW):
        if (decision := row["decision"]) not in ("", *DECISIONS):
            problem = f"row {number} has the decision {decision}"
            raise InputError(problem, f"Write {', '.join(DECISIONS)}, or nothing.", about=path)
        review = Review(**{column: as_utf8(row.get(column, "")) for column in REVIEW_COLUMNS})
        reviews[review.scan, review.output] = review
    return reviews
