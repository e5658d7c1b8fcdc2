"""Marks of readers: which results to use, to correct, or to leave out.

The report saves them as `reviews.tsv`. A mark belongs to the mask that was looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_runtime.files.reading import is_file
from wmh_runtime.files.tables import FIRST_ROW, read_table, write_table_atomically
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
    output: str  # empty: all outputs
    mask_sha256: str  # of the mask that was looked at; empty: not known
    decision: str  # of `DECISIONS`; empty: only a note, or a mark that was taken away
    note: str
    reviewer: str
    time: str  # ISO 8601

    @property
    def says_something(self) -> bool:
        """Whether there is a decision or a note; otherwise a mark was taken away."""
        return bool(self.decision or self.note)


Reviews = Mapping[tuple[str, str], Review]  # by scan and output


def read_reviews(path: Path, *, is_optional: bool = False) -> Reviews:
    """Read marks. Of several for one result, the newest one counts, and then the last one.

    A mark without an output is of all outputs of the scan.

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
    reviews = list[Review]()
    for number, row in enumerate(rows, start=FIRST_ROW):
        if (decision := row["decision"]) not in ("", *DECISIONS):
            problem = f"row {number} has the decision {decision}"
            raise InputError(problem, f"Write {', '.join(DECISIONS)}, or nothing.", about=path)
        cells = {column: as_utf8(row.get(column, "")) for column in REVIEW_COLUMNS}
        reviews.append(Review(**cells))
    return _newest(reviews)


def keep_reviews(out: Path, given: Path) -> Reviews:
    """Add the marks of a file to those in a folder of results, so that the next run has them, too.

    Args:
        out: the folder.
        given: the file. Of two marks for one result, the newer one counts.

    Returns:
        All marks.

    Raises:
        InputError: a file cannot be read or written.
    """
    kept = out / REVIEWS_NAME
    before = read_reviews(kept, is_optional=True)
    reviews = _newest([*before.values(), *read_reviews(given).values()])
    if reviews != before:
        rows = [asdict(review) for review in reviews.values()]
        write_table_atomically(kept, rows, delimiter="\t", columns=REVIEW_COLUMNS)
    return reviews


def _newest(reviews: Iterable[Review]) -> Reviews:
    newest: dict[tuple[str, str], Review] = {}
    for review in reviews:
        key = review.scan, review.output
        if key not in newest or newest[key].time <= review.time:
            newest[key] = review
    return newest
