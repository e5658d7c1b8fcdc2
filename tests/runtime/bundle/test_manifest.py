"""The manifest and its published schema."""

import json

from tests.conftest import REPOSITORY
from wmh_runtime.bundle.manifest import Manifest, schema

PUBLISHED = REPOSITORY / "docs" / "manifest.schema.json"


def test_the_published_schema_is_that_of_the_program():
    advice = "write it anew: python -m wmh_runtime.bundle.manifest > docs/manifest.schema.json"
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == schema(), advice


def test_every_key_is_explained_in_the_documents():
    text = (REPOSITORY / "docs" / "bundle.md").read_text(encoding="utf-8")
    for key in Manifest.model_fields:
        assert f"`{key}`" in text, key
