"""docs/results.md names every column of the tables."""

import re
from pathlib import Path

import pytest

from wmh_runtime.outputs.tables.lesions import LESION_COLUMNS
from wmh_runtime.outputs.tables.volumes import volume_columns

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results.md"
BY_LOCATION = re.compile(r"(?:deep|juxtacortical|infratentorial|periventricular_3mm)_(?:ml|count)")


@pytest.mark.parametrize("columns", [LESION_COLUMNS, volume_columns()], ids=["lesions", "volumes"])
def test_every_column_is_explained(columns):
    named = {*re.findall(r"`([a-z0-9_]+)`", PAGE.read_text(encoding="utf-8"))}
    of_locations = {"periventricular_count"} | {
        column.name for column in columns if BY_LOCATION.fullmatch(column.name)
    }
    missing = {column.name for column in columns} - named - of_locations
    assert not missing
