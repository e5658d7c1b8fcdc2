"""The manifest and its published schema."""

import json

from tests.conftest import REPOSITORY
from wmh_runtime.bundle.manifest import Manifest, schema

PUBLISHED = REPOSITORY / "docs" / "manifest.schema.json"


def test_published_schema_is_up_to_date():
    advice = "write it again: python -m wmh_runtime.bundle.manifest > docs/manifest.schema.json"
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == schema(), advice


def test_docs_explain_every_key():
    text = (REPOSITORY / "docs" / "bundle.md").read_text(encoding="utf-8")
    for key in Manifest.model_fields:
        assert f"`{key}`" in text, key
