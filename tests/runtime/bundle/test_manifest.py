"""The manifest and its published schema."""

import json

import pytest

from tests.conftest import REPOSITORY
from tests.toys import write_toy_bundle
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.bundle.manifest import Manifest, schema

PUBLISHED = REPOSITORY / "docs" / "manifest.schema.json"


def test_published_schema_is_up_to_date():
    advice = "write it again: python -m wmh_runtime.bundle.manifest > docs/manifest.schema.json"
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == schema(), advice


def test_docs_explain_every_key():
    text = (REPOSITORY / "docs" / "bundle.md").read_text(encoding="utf-8")
    for key in Manifest.model_fields:
        assert f"`{key}`" in text, key


@pytest.mark.parametrize(
    ("channels", "interchangeable", "expected"),
    [
        (("flair",), False, "FLAIR"),
        (("flair", "t1"), False, "FLAIR and T1"),
        (("flair", "t1"), True, "FLAIR, T1, or both"),
    ],
)
def test_the_input_in_words(tmp_path, channels, interchangeable, expected):
    folder = write_toy_bundle(tmp_path / "b", channels=channels, interchangeable=interchangeable)
    assert load_bundle(folder).manifest.input_text == expected
