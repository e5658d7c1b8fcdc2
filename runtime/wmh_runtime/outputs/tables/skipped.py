"""The table of the files that were skipped in a run, with the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wmh_runtime.dataset.search import Skipped
from wmh_runtime.files.atomic import remove
from wmh_runtime.files.tables import write_table_atomically

SKIPPED_NAME = "skipped.csv"


def write_skipped(out: Path, skipped: Sequence[Skipped]) -> None:
    """Write one row for each skipped file or folder; if nothing was skipped, there is no table.

    Raises:
        InputError: the table cannot be written.
    """
    rows = [{"path": one.path.as_posix(), "reason": one.reason} for one in skipped]
    if rows:
        write_table_atomically(out / SKIPPED_NAME, rows)
    else:
        remove(out / SKIPPED_NAME)
