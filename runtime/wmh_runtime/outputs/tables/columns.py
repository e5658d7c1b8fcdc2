"""Columns of tables, and the JSON file beside a table that describes them, as BIDS has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wmh_runtime.files.atomic import remove, write_json_atomically
from wmh_runtime.files.tables import write_table_atomically


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    description: str
    units: str = ""
    format: str = ""  # of BIDS, such as integer; empty: not said
    levels: Mapping[str, str] = field(default_factory=dict, hash=False)  # value → meaning

    @property
    def entry(self) -> dict[str, object]:
        """What the dictionary of a table says of the column."""
        entry: dict[str, object] = {"Description": self.description}
        if self.units:
            entry["Units"] = self.units
        if self.format:
            entry["Format"] = self.format
        if self.levels:
            entry["Levels"] = dict(self.levels)
        return entry


def dictionary(columns: Sequence[Column]) -> dict[str, object]:
    """Describe the columns of a table: name → description, units, format, levels."""
    return {column.name: column.entry for column in columns}


def write_table_of(
    table: Path, columns: Sequence[Column], rows: Sequence[Mapping[str, object]]
) -> None:
    """Write a table of a folder and its dictionary; without rows, remove both.

    Args:
        table: .csv file; the dictionary has its name, with .json.
        columns: of the table, in their order.
        rows: column → cell.

    Raises:
        InputError: a file cannot be written or removed.
    """
    described = table.with_suffix(".json")
    if not rows:
        remove(table)
        remove(described)
        return
    names = [column.name for column in columns]
    write_table_atomically(table, [{name: row[name] for name in names} for row in rows])
    write_json_atomically(described, dictionary(columns))
