"""Whatever a file contains, it is a result or one line, and no file ends a run."""

import pytest

from benchmarks.dev.odd_files import write_odd_file
from benchmarks.dev.odd_inputs import check_odd_inputs
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.cohort import run as run_module
from wmh_runtime.cohort.case import processor as case_processor
from wmh_runtime.cohort.sharing import collect as collect_module


@pytest.fixture
def bundle():
    return load_bundle("demo")


def test_odd_files_are_results_or_one_line_each(bundle):
    # `python -m benchmarks.dev odd-inputs` checks many more.
    checked = check_odd_inputs(bundle, 300, draw_pictures=False)
    assert checked.faults == [], checked.log
    assert checked.files == checked.segmented + checked.refused + checked.skipped >= 300
    assert min(checked.segmented, checked.refused) > 90  # neither all right nor all wrong


def test_the_files_of_a_number_are_always_the_same(tmp_path):
    def content(folder):
        own = write_odd_file(folder, 7)
        return [(path.name, path.read_bytes()) for path in sorted(own.iterdir())]

    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert content(tmp_path / "three")


def test_a_bug_is_found_and_named(bundle, monkeypatch):
    monkeypatch.setattr(case_processor, "preprocess", lambda *_: 1 / 0)
    checked = check_odd_inputs(bundle, 40, draw_pictures=False)
    assert len(checked.faults) > 10
    assert checked.faults[0].startswith("00000")
    assert "ZeroDivisionError" in checked.faults[0]
    assert "Traceback" in checked.log


def test_a_run_that_ends_is_found(bundle, monkeypatch):
    def fail(*_, **__):
        raise KeyError("no such table")

    monkeypatch.setattr(collect_module, "read_results", fail)
    checked = check_odd_inputs(bundle, 10, draw_pictures=False)
    assert checked.faults == ["range(0, 10): the run ended with KeyError: 'no such table'"]


def test_scans_that_vanish_are_found(bundle, monkeypatch):
    monkeypatch.setattr(run_module, "_report", lambda *_: None)
    (fault,) = check_odd_inputs(bundle, 10, draw_pictures=False).faults
    assert "but 0 done and 0 failed" in fault
