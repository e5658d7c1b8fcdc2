from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is no matter of a test.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their markers
def pytest_collection_modifyitems(items):
    """Mark the tests of tools for developers, and leave the tests of `runtime` to the end.

    Their files are short, so all processes end together.
    """
    for item in items:
        if REPOSITORY / "tests" / "benchmarks" / "dev" in item.path.parents:
            item.add_marker(pytest.mark.exhaustive)
    items.sort(key=lambda item: REPOSITORY / "tests" / "runtime" in item.path.parents)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real scans and label maps, which is not part of the repository."""
    folder = Path(os.environ.get("WMH_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set WMH_TEST_DATA to their folder")
    return folder


@pytest.fixture
def run_command(monkeypatch, capsys):
    """Call a command line's `main` with arguments; return exit status, output and errors."""

    def run(main, *arguments):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        try:
            main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        return (status, *capsys.readouterr())

    return run


@pytest.fixture(scope="session", autouse=True)
def _cache_of_tests(tmp_path_factory):
    """Leave the user's cache alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch):
    """Train on the CPU, and let each test choose its precision.

    accelerate keeps precision and device for the life of a process.
    """
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    yield
    if "accelerate.state" in sys.modules:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)
