"""Read the reports of several models, and join what they say of the same scans."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.dataset.subjects import subject_from_name
from wmh_runtime.errors import InputError
from wmh_runtime.evaluation.comparison.measures import MEASURES
from wmh_runtime.evaluation.report.writer import METRICS_NAME
from wmh_runtime.files.tables import read_table
from wmh_runtime.postprocessing.load_bands import load_band

_REFERENCE = "reference_ml"
_COLUMNS = ("name", "site", _REFERENCE, *(measure.column for measure in MEASURES))
_ROUNDING = 1e-5  # of volumes in the table, relative
_MAX_NAMES = 3  # of scans in an error

_Rows = dict[str, dict[str, str]]  # name of the scan → its row


@dataclass(frozen=True)
class ComparedScan:
    """A scan that all models segmented."""

    name: str
    subject: str
    site: str  # "" if unknown
    load_band: str  # of the reference


@dataclass(frozen=True)
class Scores:
    """The metrics of several models on the same scans."""

    models: tuple[str, ...]  # at least two
    scans: tuple[ComparedScan, ...]  # at least one, sorted by name
    values: Mapping[str, NDArray[np.float64]]  # column → (models, scans); NaN is undefined
    left_out: Mapping[str, int]  # model → number of its scans that another report lacks

    @property
    def subjects(self) -> NDArray[np.str_]:
        """The subject of each scan: (scans,)."""
        return np.array([scan.subject for scan in self.scans])

    @property
    def has_repeated_subjects(self) -> bool:
        """Whether a subject has several scans."""
        return len({*self.subjects}) < len(self.scans)


def read_reports(reports: Mapping[str, Path]) -> Scores:
    """Join the reports of several models; only scans that all of them have are kept.

    Args:
        reports: name of the model → folder with the report of its evaluation; at least two.

    Raises:
        InputError: a report cannot be used, no scan is in all of them, or they were made with
            different references.
    """
    rows_of = {model: _read_rows(folder) for model, folder in reports.items()}
    tables = list(rows_of.values())
    shared = sorted(set.intersection(*({*rows} for rows in tables)))
    if not shared:
        problem = f"no scan is in all reports ({', '.join(reports)})"
        raise InputError(problem, "Evaluate all models on the same scans.")
    _require_same_references(rows_of, shared, reports)
    return Scores(
        models=tuple(reports),
        scans=tuple(_scan(name, [rows[name] for rows in tables]) for name in shared),
        values={
            measure.column: np.array(
                [[_number(rows[name][measure.column]) for name in shared] for rows in tables]
            )
            for measure in MEASURES
        },
        left_out={model: len(rows) - len(shared) for model, rows in rows_of.items()},
    )


def _read_rows(folder: Path) -> _Rows:
    """Return the rows of a report by the name of the scan."""
    path = folder / METRICS_NAME
    if not path.is_file():
        parts = sorted(table.parent.name for table in folder.glob(f"label-*/{METRICS_NAME}"))
        problem = f"contains no {METRICS_NAME}"
        if parts:
            problem += f", but reports of several outputs: {', '.join(parts)}"
        raise InputError(problem, "Give a report folder that wmh-eval wrote.", about=folder)
    rows = read_table(path)
    missing = [column for column in _COLUMNS if not rows or column not in rows[0]]
    if missing:
        problem = f"has no column {', '.join(missing)}" if rows else "has no rows"
        raise InputError(problem, "Give a table that wmh-eval wrote.", about=path)
    for row in rows:
        for column in (_REFERENCE, *(measure.column for measure in MEASURES)):
            if not _is_number(row[column]) or (column == _REFERENCE and not row[column]):
                problem = f"has {row[column] or 'nothing'} as {column} of {row['name']}"
                raise InputError(problem, "Give a table that wmh-eval wrote.", about=path)
    by_name = {row["name"]: row for row in rows}
    if len(by_name) < len(rows):
        raise InputError("names a scan twice", "Give a table that wmh-eval wrote.", about=path)
    return by_name


def _require_same_references(
    rows_of: Mapping[str, _Rows], shared: Sequence[str], reports: Mapping[str, Path]
) -> None:
    """Refuse reports with other volumes of the references: their metrics cannot be compared."""
    (first, first_rows), *others = rows_of.items()
    for model, rows in others:
        different = [
            name
            for name in shared
            if not math.isclose(
                *(_number(table[name][_REFERENCE]) for table in (first_rows, rows)),
                rel_tol=_ROUNDING,
            )
        ]
        if different:
            more = ", …" if len(different) > _MAX_NAMES else ""
            names = ", ".join(different[:_MAX_NAMES]) + more
            problem = f"has other reference volumes than {first}: {names}"
            advice = "Evaluate all models with the same reference masks."
            raise InputError(problem, advice, about=reports[model])


def _scan(name: str, rows: Sequence[Mapping[str, str]]) -> ComparedScan:
    """Return a scan from its rows in all reports: the first that says something of it is right.

    Reports of earlier versions have no column for the subject.
    """
    subject = next(filter(None, (row.get("subject") for row in rows)), subject_from_name(name))
    site = next(filter(None, (row["site"] for row in rows)), "")
    return ComparedScan(name, subject, site, load_band(_number(rows[0][_REFERENCE])))


def _number(cell: str) -> float:
    return float(cell) if cell else math.nan


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell or 0))
    except ValueError:
        return False
