"""The tables of an output folder: volumes and regions of all results, and failures of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from wmh_runtime.dataset import bids
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import InputError
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.outputs.paths import is_file
from wmh_runtime.outputs.sidecar import (
    Sidecar,
    is_as_written,
    is_unreadable_sidecar,
    read_sidecar,
)
from wmh_runtime.outputs.tables.columns import Column, write_table_of
from wmh_runtime.outputs.tables.outliers import outlier_warning, volume_z_scores
from wmh_runtime.outputs.tables.regions import REGIONS_NAME, wide_cells
from wmh_runtime.outputs.tables.volumes import Result, volume_columns, volume_row

VOLUMES_NAME = "volumes.csv"
FAILURES_NAME = "failures.csv"

_FAILURE_COLUMNS = (
    Column("scan", "Path of the scan in the input folder"),
    Column("reason", "Why it failed, and what to do"),
)
_NAMES = ("scan", "participant_id", "session", "run", "output")  # columns of both tables


def require_replaceable(out: Path) -> None:
    """Check that no other program has locked a table, as spreadsheet programs do.

    Raises:
        InputError: a table cannot be replaced.
    """
    for path in (out / VOLUMES_NAME, out / REGIONS_NAME, out / FAILURES_NAME):
        try:
            if path.exists():
                path.open("ab").close()
        except OSError as error:
            raise InputError(
                f"cannot be replaced ({reason_of(error)})",
                "Close it in other programs, or choose another output folder.",
                about=path,
            ) from error


@dataclass
class DoubtfulResults:
    """Results that the tables of a folder tell nothing about, or not the whole truth."""

    unreadable: list[Path] = field(default_factory=list)  # sidecars; they are in no table
    changed: list[Path] = field(default_factory=list)  # masks that are not as they were written
    repeated: list[str] = field(default_factory=list)  # scans that are the same file as another


def write_tables(out: Path, failed: Sequence[tuple[Case, Exception]]) -> DoubtfulResults:
    """Write all tables. If one cannot be written, the others still are.

    `volumes.csv` has a row for each result in the folder, whichever run made it, and `regions.csv`
    one for each of a model with regions. A scan that failed in this run has a row in `failures.csv`
    only, even if it has a result of an earlier run. A table without rows is removed.

    Args:
        out: output folder.
        failed: the cases that failed in this run, each with the reason.

    Raises:
        InputError: a table cannot be written.
    """
    failures = [{"scan": scan.relative.as_posix(), "reason": str(why)} for scan, why in failed]
    failed_scans = {row["scan"] for row in failures}
    found, doubtful = read_results(out)
    results = [one for one in found if one.scan.as_posix() not in failed_scans]
    with ExitStack() as all_tables:
        all_tables.callback(write_table_of, out / FAILURES_NAME, _FAILURE_COLUMNS, failures)
        all_tables.callback(_write_regions, out / REGIONS_NAME, results)
        all_tables.callback(
            write_table_of, out / VOLUMES_NAME, volume_columns(), list(map(volume_row, results))
        )
    return doubtful


def _write_regions(table: Path, results: Iterable[Result]) -> None:
    """Write the lesions by region; results of models without regions have no row."""
    names = [column for column in volume_columns() if column.name in _NAMES]
    rows, columns = list[dict[str, str]](), dict[Column, None]()
    for result in results:
        if cells := wide_cells(result.sidecar.regions):
            volumes = volume_row(result)
            columns |= dict.fromkeys(cells)
            rows.append(
                {one.name: volumes[one.name] for one in names}
                | {column.name: cell for column, cell in cells.items()}
            )
    filled = [dict.fromkeys((column.name for column in columns), "") | row for row in rows]
    write_table_of(table, [*names, *columns], filled)


def read_results(out: Path) -> tuple[list[Result], DoubtfulResults]:
    """Return each result in the output folder, sorted by scan, and which are doubtful."""
    results, doubtful = list[Result](), DoubtfulResults()
    for path in sorted(filter(is_file, out.rglob(f"*{bids.SIDECAR_SUFFIX}"))):
        if (sidecar := read_sidecar(path)) is not None:
            result = Result(sidecar, path.relative_to(out))
            result.changes = _changes(out / result.mask, sidecar)
            if result.changes:
                doubtful.changed.append(out / result.mask)
            results.append(result)
        elif is_unreadable_sidecar(path):
            doubtful.unreadable.append(path)
    doubtful.repeated = _find_duplicates(results)
    _find_outliers(results)
    results.sort(key=lambda one: (one.scan.as_posix(), one.sidecar.settings.output.name))
    return results, doubtful


def _find_duplicates(results: Iterable[Result]) -> list[str]:
    """Note in each result which other scans are the same file, byte for byte; return them all."""
    by_input = defaultdict(list)
    for result in results:
        by_input[result.sidecar.input_sha256, result.sidecar.settings.output.name].append(result)
    repeated: set[str] = set()
    for copies in by_input.values():
        for result in copies:
            others = (other for other in copies if other is not result)
            result.duplicates = sorted(other.scan.as_posix() for other in others)
            if result.duplicates:
                repeated.add(result.scan.as_posix())
    return sorted(repeated)


def _find_outliers(results: Iterable[Result]) -> None:
    """Note in each result how its volume compares with those of the same output."""
    by_output = defaultdict(list)
    for result in results:
        by_output[result.sidecar.settings.output.name].append(result)
    for alike in by_output.values():
        scores = volume_z_scores([one.sidecar.volume_ml for one in alike])
        for result, z in zip(alike, scores, strict=True):
            result.volume_z, result.outlier = z, outlier_warning(z, len(alike))


def _changes(mask: Path, sidecar: Sidecar) -> list[str]:
    """Return a warning if a mask is not as it was written, such as one corrected by hand."""
    try:
        if is_as_written(mask, sidecar):
            return []
        problem = "the mask was changed after it was written"
    except OSError as error:
        problem = f"the mask cannot be read ({reason_of(error)})"
    return [
        f"{problem}; volume and lesions are those of the mask as it was written. To use a corrected"
        f" mask, put it into {bids.MANUAL.as_posix()} of the input folder"
    ]
