import gc
from pathlib import Path

import pytest

_UNRAISABLE = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(_UNRAISABLE)


@pytest.fixture(autouse=True)
def _refused_sockets():
    """pynetdicom leaves the socket of a refused connection to the garbage collector."""
    yield
    gc.collect()
