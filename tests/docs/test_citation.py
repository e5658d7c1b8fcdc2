"""CITATION.cff and the page on citing name the version and the model of this package."""

import re
from importlib.metadata import version

from tests.conftest import REPOSITORY
from wmh_runtime import load_bundle


def test_the_versions_are_those_of_the_package():
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    page = (REPOSITORY / "docs" / "cite.md").read_text(encoding="utf-8")
    assert re.search(r"^version: (.+)$", citation, re.M)[1] == version("wmh-lora")
    assert f"wmh-lora {version('wmh-lora')} (" in page


def test_the_model_id_is_that_of_the_model():
    page = (REPOSITORY / "docs" / "cite.md").read_text(encoding="utf-8")
    assert f"(model base, id {load_bundle('base').manifest.model_id})" in page
