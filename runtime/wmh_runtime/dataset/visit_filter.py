"""Take the scans of some participants and sessions only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.subjects import session_from_name, subject_of_scan
from wmh_runtime.errors import InputError

_SHOWN = 5  # labels in an error


@dataclass(frozen=True)
class VisitFilter:
    """The participants and sessions to take, as in the names, with or without `sub-` and `ses-`.

    Without any, all are taken.
    """

    participants: Sequence[str] = ()
    sessions: Sequence[str] = ()

    def apply(self, cases: Sequence[Case], source: Path) -> tuple[Case, ...]:
        """Return the scans of these participants and sessions.

        Args:
            cases: the scans that were found.
            source: where; for errors.

        Raises:
            InputError: a participant or a session has no scan.
        """
        taken = _take(cases, _participant, "sub-", self.participants, source)
        return _take(taken, _session, "ses-", self.sessions, source)


ALL_VISITS = VisitFilter()


def _take(
    cases: Sequence[Case],
    label_of: Callable[[Case], str],
    prefix: str,
    wanted: Sequence[str],
    source: Path,
) -> tuple[Case, ...]:
    if not wanted:
        return tuple(cases)
    label_of_each = [label_of(case).removeprefix(prefix) for case in cases]
    labels = {label.removeprefix(prefix) for label in wanted}
    if missing := sorted(labels - {*label_of_each}):
        known = [f"{prefix}{label}" for label in sorted({*label_of_each}) if label]
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        there = f"{', '.join(known[:_SHOWN])}{more}" if known else "none"
        problem = f"has no scan of {', '.join(prefix + label for label in missing)}"
        raise InputError(problem, f"The names say: {there}.", about=source)
    taken = zip(cases, label_of_each, strict=True)
    return tuple(case for case, label in taken if label in labels)


def _participant(case: Case) -> str:
    return subject_of_scan(case.relative)


def _session(case: Case) -> str:
    return session_from_name(case.relative.as_posix())
