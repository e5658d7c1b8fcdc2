import pytest

from tests.bundle_fixtures import built, bundle, cached_phantoms, cached_traces, checkpoint
from tests.toys import write_toy_bundle

__all__ = ["built", "bundle", "cached_phantoms", "cached_traces", "checkpoint"]


@pytest.fixture
def toy_bundle(tmp_path):
    return write_toy_bundle(tmp_path / "bundle")
