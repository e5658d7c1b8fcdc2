"""The order of visits: by dates if they are known, else by the numbers in their labels."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wmh_runtime.change.visits import Visit
from wmh_runtime.errors import InputError

_NUMBERED = re.compile(r"(?P<prefix>.*?[^0-9]|)(?P<number>[0-9]+)(?P<suffix>[a-z]?)")


def by_dates(visits: Sequence[Visit], subject: str) -> list[Visit] | None:
    """Return the visits of a subject, earliest first; None if no date is known.

    Raises:
        InputError: only some dates are known, so that the order is in doubt.
    """
    dated = [(visit.date, index) for index, visit in enumerate(visits) if visit.date is not None]
    if not dated:
        return None
    if len(dated) < len(visits):
        problem = f"has dates for {len(dated)} of its {len(visits)} visits"
        raise InputError(problem, "Give all dates of a subject, or none.", about=subject)
    return [visits[index] for _, index in sorted(dated)]


def by_labels(visits: Sequence[Visit], subject: str) -> list[Visit]:
    """Return the visits of a subject in the order of the numbers: `ses-2` before `ses-10`.

    Raises:
        InputError: the labels are not the same word with different numbers.
    """
    matches = [_NUMBERED.fullmatch(visit.label) for visit in visits]
    known = [match for match in matches if match is not None]
    if len(known) < len(visits) or len({match["prefix"] for match in known}) > 1:
        labels = ", ".join(visit.label for visit in visits)
        problem = f"has the visits {labels}, whose order the names do not say"
        advice = f"Give dates in {subject}_sessions.tsv, or a table of visits in their order."
        raise InputError(problem, advice, about=subject)
    keys = [(int(match["number"]), match["suffix"], match.string) for match in known]
    return [visits[index] for index in sorted(range(len(visits)), key=keys.__getitem__)]
