"""A sample of what `python -m benchmarks.dev soak` does for hours."""

import shutil

import pytest

from benchmarks.dev.clusters.engines import Processes
from benchmarks.dev.clusters.soak import trouble
from benchmarks.dev.clusters.soak.damaged_dicom import check_damaged_dicom
from benchmarks.dev.clusters.soak.kills import faults_of, kill_at_random
from tests.shared_work import make_work, options_of


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return make_work(tmp_path_factory.mktemp("work"))


@pytest.fixture
def arguments(work, tmp_path):
    return [str(work / "scans"), str(tmp_path / "out"), *options_of(work)]


def test_processes_that_are_killed_at_random_lose_nothing(work, tmp_path, arguments):
    known = (arguments, work / "alone", tmp_path / "out", 4)
    killed = kill_at_random(Processes(2), *known, seed=1)
    assert killed.faults == []
    assert killed.killed == {"process": 4}
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_is_found(work, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(work / "alone", out)
    assert faults_of(out, work / "alone") == []
    (out / "volumes.csv").write_text("scan\n")
    (out / "failures.csv").unlink()
    (out / "other.csv").touch()
    (out / ".wmh" / "claims" / "a.json").touch()
    assert faults_of(out, work / "alone") == [
        "failures.csv is missing",
        "other.csv is too many",
        "volumes.csv differs",
        ".wmh/claims/a.json was left",
    ]


@pytest.mark.exhaustive
@pytest.mark.parametrize("make", trouble.kinds_of_trouble(), ids=lambda one: one.__name__)
def test_what_is_taken_away_and_given_back_costs_no_result(make, work, tmp_path, arguments):
    made = make(arguments, work / "alone", tmp_path)
    assert made.faults == []


def test_a_full_disk_is_full(work, tmp_path, arguments):
    if trouble.full_disk not in trouble.kinds_of_trouble():
        pytest.skip("only root can mount a small disk")
    assert trouble.full_disk(arguments, work / "alone", tmp_path).status in ([1], [2])


def test_damaged_series_are_converted_or_refused_in_one_line():
    pytest.importorskip("pydicom")
    checked = check_damaged_dicom(20)
    assert checked.faults == []
    assert checked.converted + checked.refused == 20
    assert checked.refused > 0
