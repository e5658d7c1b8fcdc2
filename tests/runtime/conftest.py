import pytest

from tests.toys import write_toy_bundle


@pytest.fixture
def toy_bundle(tmp_path):
    return write_toy_bundle(tmp_path / "bundle")
