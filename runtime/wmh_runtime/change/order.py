"""The order of visits: by dates if they are known, else by the numbers in their labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from wmh_runtime.change.visits import Visit
from wmh_runtime.errors import InputError

# Not `6m` and `1y`: letters after c may be units.
_NUMBERED = re.compile(r"(?P<prefix>.*?[^0-9]|)(?P<number>[0-9]+)(?P<suffix>[a-c]?)")
_DIGITS_OF_A_DAY = 8


def by_dates(visits: Sequence[Visit], subject: str, *, is_ordered: bool) -> list[Visit] | None:
    """Return the visits of a subject, earliest first; None if no date is known.

    Args:
        visits: of the subject.
        subject: its name.
        is_ordered: of several visits on one day, the given order counts.

    Raises:
        InputError: only some dates are known, or two are the same: the order is in doubt.
    """
    dated = [(visit.date, index) for index, visit in enumerate(visits) if visit.date is not None]
    if not dated:
        return None
    if len(dated) < len(visits):
        missing = ", ".join(visit.label for visit in visits if visit.date is None)
        problem = f"has dates for some visits, but not for the visit {missing}"
        raise InputError(problem, "Give all dates of a subject, or none.", about=subject)
    days = [day for day, _ in dated]
    if not is_ordered and (twice := [day for day in days if days.count(day) > 1]):
        problem = f"has {len(twice)} visits on {twice[0]}"
        raise InputError(problem, "Give a table of visits in their order.", about=subject)
    return [visits[index] for _, index in sorted(dated)]


def by_labels(visits: Sequence[Visit], subject: str) -> list[Visit]:
    """Return the visits of a subject in the order of the numbers: `ses-2` before `ses-10`.

    Raises:
        InputError: the labels are not the same word with different numbers.
    """
    matches = [_NUMBERED.fullmatch(visit.label) for visit in visits]
    known = [match for match in matches if match is not None]
    has_other_words = len(known) < len(visits) or len({match["prefix"] for match in known}) > 1
    if has_other_words or not all(_sorts_by_time(match["number"]) for match in known):
        labels = ", ".join(visit.label for visit in visits)
        problem = f"has the visits {labels}, whose order the names do not say"
        advice = f"Give dates in {subject}_sessions.tsv, or a table of visits in their order."
        raise InputError(problem, advice, about=subject)
    keys = [(int(match["number"]), match["suffix"], match.string) for match in known]
    return [visits[index] for index in sorted(range(len(visits)), key=keys.__getitem__)]


def _sorts_by_time(number: str) -> bool:
    """Return whether numbers like this one are in order: eight digits must be a day, year first."""
    if len(number) != _DIGITS_OF_A_DAY:
        return True
    try:
        date(int(number[:4]), int(number[4:6]), int(number[6:]))
    except ValueError:
        return False
    return True
