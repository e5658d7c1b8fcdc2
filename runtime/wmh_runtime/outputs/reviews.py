"""Marks of readers: which results to use, to correct, or to leave out.

The report saves them as `reviews.tsv`. A mark belongs to the mask that was looked at; only that a
scan cannot be used is true of each mask of the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_runtime.files.reading import is_file
from wmh_runtime.files.tables import FIRST_ROW, MISSING_CELLS, read_table, write_table_atomically
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
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Review:
    """A mark of a reader. All texts can be written as UTF-8."""

    scan: str  # path, as in the tables
    output: str  # empty: all outputs
    mask_sha256: str  # of the mask that was looked at; empty: not known
    decision: str  # of `DECISIONS`; empty: only a note, or a mark that was taken away
    note: str
    reviewer: str
    time: str  # ISO 8601, UTC

    @property
    def says_something(self) -> bool:
        """Whether there is a decision or a note; otherwise a mark was taken away."""
        return bool(self.decision or self.note)

    def is_of(self, scan: str, output: str) -> bool:
        """Return whether the mark is about an output of a scan."""
        return self.scan == scan and (self.output in ("", output) or self.decision == EXCLUDE)

    def is_outdated(self, mask_sha256: str) -> bool:
        """Return whether the mark does not hold for the mask that a scan has now."""
        of_this = self.mask_sha256 in ("", mask_sha256) or self.decision == EXCLUDE
        return not of_this and self.says_something


Reviews = Sequence[Review]  # for each result and reader the newest mark


def read_reviews(path: Path, *, is_optional: bool = False) -> Reviews:
    """Read marks. Of several of one reader for one result, the newest one counts.

    A mark without a time has that of the file.

    Args:
        path: the file.
        is_optional: if there is no file, there are no marks.

    Raises:
        InputError: the file cannot be read as a table, lacks a column, or has another decision or
            a time that is not one.
    """
    if is_optional and not is_file(path):
        return []
    rows = read_table(path)
    if rows and (missing := [column for column in _NEEDED if column not in rows[0]]):
        problem = f"has the columns {', '.join(rows[0])}, but not {', '.join(missing)}"
        raise InputError(problem, "Give the file that the report saved.", about=path)
    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC) if rows else None
    reviews = list[Review]()
    for number, row in enumerate(rows, start=FIRST_ROW):
        decision = "" if row["decision"] in MISSING_CELLS else row["decision"].lower()
        if decision not in ("", *DECISIONS):
            problem = f"row {number} has the decision {decision}"
            raise InputError(problem, f"Write {', '.join(DECISIONS)}, or nothing.", about=path)
        cells = {column: as_utf8(row.get(column, "")) for column in REVIEW_COLUMNS}
        try:
            time = modified if cells["time"] in MISSING_CELLS else _parse_time(cells["time"])
        except ValueError as error:
            problem = f"row {number} has the time {cells['time']}"
            advice = "Write it as 2026-01-31T14:00:00Z, or leave it out."
            raise InputError(problem, advice, about=path) from error
        text = "" if time is None else time.strftime(_TIME)
        reviews.append(Review(**{**cells, "decision": decision, "time": text}))
    return _newest(reviews)


def keep_reviews(out: Path, given: Path) -> Reviews:
    """Add the marks of a file to those in a folder of results, so that the next run has them, too.

    Args:
        out: the folder.
        given: the file.

    Returns:
        All marks.

    Raises:
        InputError: a file cannot be read or written.
    """
    kept = out / REVIEWS_NAME
    before = read_reviews(kept, is_optional=True)
    reviews = _newest([*before, *read_reviews(given)])
    if reviews != before:
        rows = [asdict(review) for review in reviews]
        write_table_atomically(kept, rows, delimiter="\t", columns=REVIEW_COLUMNS)
    return reviews


def choose_review(reviews: Iterable[Review], mask_sha256: str) -> Review | None:
    """Return the mark that counts for a result: the newest decision that is not outdated.

    A mark that was taken away counts for its reader only.

    Args:
        reviews: of the result.
        mask_sha256: of its mask.

    Returns:
        A note if there is no decision, the newest outdated mark if there are no others, and None if
        there is none.
    """
    return max(
        _of_readers(reviews),
        key=lambda one: (not one.is_outdated(mask_sha256), bool(one.decision), one.time),
        default=None,
    )


def disagreement(reviews: Iterable[Review], mask_sha256: str) -> str:
    """Return what readers say who disagree about a result; empty if they agree."""
    marks = _of_readers(reviews)
    valid = [one for one in marks if one.decision and not one.is_outdated(mask_sha256)]
    if len({one.decision for one in valid}) < 2:
        return ""
    return ", ".join(f"{one.reviewer or 'no name'}: {one.decision}" for one in valid)


def _of_readers(reviews: Iterable[Review]) -> list[Review]:
    """Return the newest mark of each reader for one result, unless it was taken away."""
    newest = _newest_by(lambda one: one.reviewer, reviews)
    return [review for review in newest if review.says_something]


def _parse_time(text: str) -> datetime:
    """Return a time in UTC; without a zone, it is one. ValueError if it is no time."""
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _newest(reviews: Iterable[Review]) -> list[Review]:
    """Return the newest mark of each reader for each result."""
    return _newest_by(lambda one: (one.scan, one.output, one.reviewer), reviews)


def _newest_by(key_of: Callable[[Review], Hashable], reviews: Iterable[Review]) -> list[Review]:
    """Return the newest mark with each key; of several of one time, the last one."""
    newest: dict[Hashable, Review] = {}
    for review in reviews:
        key = key_of(review)
        if key not in newest or newest[key].time <= review.time:
            newest[key] = review
    return list(newest.values())
