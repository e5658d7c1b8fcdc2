"""The table of the files that were skipped in a run, with the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wmh_runtime.dataset.search import Skipped
from wmh_runtime.outputs.tables.columns import Column, write_table_of

SKIPPED_NAME = "skipped.csv"

_COLUMNS = (
    Column("path", "Skipped file or folder, relative to the input folder"),
    Column("reason", "Why it was skipped"),
)


def write_skipped(out: Path, skipped: Sequence[Skipped]) -> None:
    """Write one row for each skipped file or folder; if nothing was skipped, there is no table.

    Raises:
        InputError: the table cannot be written.
    """
    rows = [{"path": one.path.as_posix(), "reason": one.reason} for one in skipped]
    write_table_of(out / SKIPPED_NAME, _COLUMNS, rows)
