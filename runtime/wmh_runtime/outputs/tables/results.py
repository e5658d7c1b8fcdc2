"""The tables of an output folder: volumes and regions of all results, and what failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.outputs.failures import COMPARISON, SEGMENTATION, FailureRecord
from wmh_runtime.outputs.folder_results import Result
from wmh_runtime.outputs.paths import VOLUMES_NAME
from wmh_runtime.outputs.reviews import REVIEWS_NAME
from wmh_runtime.outputs.tables.columns import Column, write_table_of
from wmh_runtime.outputs.tables.regions import REGIONS_NAME, wide_cells
from wmh_runtime.outputs.tables.skipped import SKIPPED_NAME
from wmh_runtime.outputs.tables.volumes import volume_columns, volume_row

FAILURES_NAME = "failures.csv"
CHANGES_NAME = "changes.csv"

_FAILURE_COLUMNS = (
    Column("scan", "Path of the scan in the input folder; of a comparison, the subject"),
    Column(
        "step",
        "What failed",
        levels={
            SEGMENTATION: "the scan has no result",
            COMPARISON: "the visits of the subject were not compared",
        },
    ),
    Column("reason", "Why it failed, and what to do"),
)
_NAMES = ("scan", "participant_id", "session", "run", "output")  # columns of both tables


def require_replaceable(out: Path) -> None:
    """Check that no other program has locked a table, as spreadsheet programs do.

    Raises:
        InputError: a table cannot be replaced.
    """
    names = (VOLUMES_NAME, REGIONS_NAME, FAILURES_NAME, CHANGES_NAME, SKIPPED_NAME, REVIEWS_NAME)
    for path in (out / name for name in names):
        try:
            if path.exists():
                path.open("ab").close()
        except OSError as error:
            raise InputError(
                f"cannot be replaced ({reason_of(error)})",
                "Close it in other programs, or choose another output folder.",
                about=path,
            ) from error


def write_tables(out: Path, results: Sequence[Result], failed: Sequence[FailureRecord]) -> None:
    """Write all tables. If one cannot be written, the others still are.

    `volumes.csv` has a row for each result, and `regions.csv` one for each of a model with regions.
    A table without rows is removed.

    Args:
        out: output folder.
        results: in the folder, but for those of scans that failed since.
        failed: what has failed.

    Raises:
        InputError: a table cannot be written.
    """
    failures = [{"scan": one.name, "step": one.step, "reason": one.reason} for one in failed]
    with ExitStack() as all_tables:
        all_tables.callback(write_table_of, out / FAILURES_NAME, _FAILURE_COLUMNS, failures)
        all_tables.callback(_write_regions, out / REGIONS_NAME, results)
        all_tables.callback(
            write_table_of, out / VOLUMES_NAME, volume_columns(), list(map(volume_row, results))
        )


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
