"""The pages name every column of the tables."""

import re
from pathlib import Path

import pytest

from wmh_runtime.change.report.table import CHANGES_COLUMNS
from wmh_runtime.outputs.tables.lesions import LESION_COLUMNS
from wmh_runtime.outputs.tables.volumes import volume_columns

DOCS = Path(__file__).resolve().parents[2] / "docs"
# These are named once, for all locations and classes.
ONE_OF_MANY = re.compile(
    r"(?:deep|juxtacortical|infratentorial|periventricular|periventricular_3mm)_(?:ml|count)"
    r"|(?:enlarging|shrinking|resolved|stable)_(?:count|change_ml)"
)


@pytest.mark.parametrize(
    ("page", "columns"),
    [
        ("results.md", LESION_COLUMNS),
        ("results.md", volume_columns()),
        ("change.md", CHANGES_COLUMNS),
    ],
    ids=["lesions", "volumes", "changes"],
)
def test_every_column_is_explained(page, columns):
    named = {*re.findall(r"`([a-z0-9_]+)`", (DOCS / page).read_text(encoding="utf-8"))}
    names = {column.name for column in columns}
    assert not {one for one in names - named if not ONE_OF_MANY.fullmatch(one)}
