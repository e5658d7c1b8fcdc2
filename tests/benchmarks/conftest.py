import pytest

from tests.exported import built, bundle, checkpoint, phantoms_made_once
from tests.toys import write_toy_bundle

__all__ = ["built", "bundle", "checkpoint", "phantoms_made_once"]


@pytest.fixture
def toy_bundle(tmp_path):
    return write_toy_bundle(tmp_path / "bundle")
