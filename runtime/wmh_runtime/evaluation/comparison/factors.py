"""Factors that may change how well a model does: site, lesion load, and columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.evaluation.comparison.reports import ComparedScan
from wmh_runtime.files.tables import MISSING_CELLS, read_table
from wmh_runtime.postprocessing.load_bands import LOAD_BANDS
from wmh_runtime.text import count_noun

SITE, LOAD = "site", "load_band_ml"
_TITLES = {SITE: "site", LOAD: "lesion load (mL)"}
_RESERVED = (LOAD, "model", "all")
_PARTICIPANT = "participant_id"
_MAX_LEVELS = 12  # of a factor; more are measurements, such as ages


@dataclass(frozen=True)
class Factor:
    """A property by which scans are grouped."""

    name: str
    levels: tuple[str, ...]  # at least two, each of at least one scan
    level_of_scan: NDArray[np.str_]  # (scans,), "" if unknown

    @property
    def title(self) -> str:
        """Name for readers."""
        return _TITLES.get(self.name, self.name)

    @property
    def unknown(self) -> int:
        """Number of scans whose level is not known."""
        return int(np.count_nonzero(self.level_of_scan == ""))


@dataclass(frozen=True)
class Factors:
    """The factors to test, and those that cannot be."""

    used: tuple[Factor, ...]
    skipped: tuple[str, ...]  # one line each, with the reason


def find_factors(
    scans: Sequence[ComparedScan], participants: Path | None = None, columns: Sequence[str] = ()
) -> Factors:
    """Return the given columns of a table of participants, site, and lesion load, in this order.

    A column named `site` replaces the site of the reports.

    Args:
        scans: at least one.
        participants: table with the column `participant_id`, which has the subjects of the scans,
            with or without `sub-`. Unknown values are empty or `n/a`.
        columns: of this table.

    Raises:
        InputError: the table cannot be read, or a column is missing or has a name that means
            something else in the results.
    """
    for name in (column.strip().lower() for column in columns):
        if name in _RESERVED:
            problem = f"{name} has another meaning in the results"
            raise InputError(problem, "Rename the column.", about=participants or name)
    if columns and participants is None:
        problem = f"there is no table of participants for {', '.join(columns)}"
        raise InputError(problem, f"Give a table with the columns {_PARTICIPANT} and these.")
    level_of_scan = {}
    if participants is not None:
        for name in (column.strip().lower() for column in columns):
            known = _read_column(participants, name)
            level_of_scan[name] = [known.get(scan.subject, "") for scan in scans]
    level_of_scan.setdefault(SITE, [scan.site for scan in scans])
    level_of_scan[LOAD] = [scan.load_band for scan in scans]
    used, skipped = [], []
    for name, levels in level_of_scan.items():
        present = {*levels} - {""}
        ordered = [*LOAD_BANDS] if name == LOAD else sorted(present)
        factor = Factor(name, tuple(x for x in ordered if x in present), np.array(levels))
        if reason := _why_not(factor, len(scans)):
            skipped.append(f"{factor.title}: {reason}")
        else:
            used.append(factor)
    return Factors(tuple(used), tuple(skipped))


def _why_not(factor: Factor, scans: int) -> str:
    """Return why a factor cannot be tested; empty if it can."""
    levels = factor.levels
    if not levels:
        return "not known of any scan"
    if len(levels) == 1:
        unknown = f", the others are unknown ({factor.unknown})" if factor.unknown else ""
        return (
            f"only one level, {levels[0]} ({count_noun(scans - factor.unknown, 'scan')}){unknown}"
        )
    if len(levels) > _MAX_LEVELS:
        return f"{len(levels)} levels, expected at most {_MAX_LEVELS}; join them to groups"
    return ""


def _read_column(table: Path, column: str) -> dict[str, str]:
    """Return the value of each participant, also with `sub-` before the participant."""
    rows = read_table(table)
    found = list(rows[0]) if rows else []
    missing = [name for name in (_PARTICIPANT, column) if name not in found]
    if missing:
        problem = f"has no column {', '.join(missing)}; it has: {', '.join(found) or 'no rows'}"
        raise InputError(problem, "Name the columns in the first line.", about=table)
    values: dict[str, str] = {}
    for row in rows:
        participant, value = row[_PARTICIPANT], row[column]
        if value.lower() in MISSING_CELLS:
            continue
        if values.setdefault(participant, value) != value:
            problem = f"has two values of {column} for {participant}"
            raise InputError(problem, "Give each participant one value.", about=table)
    return {f"sub-{participant}": value for participant, value in values.items()} | values
