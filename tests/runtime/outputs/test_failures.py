"""Failures are files: every run knows those of the others, and they go when the scan is done."""

import errno

import pytest

from wmh_runtime.errors import InputError, UnexpectedError
from wmh_runtime.files import atomic
from wmh_runtime.outputs.failures import (
    COMPARISON,
    SEGMENTATION,
    FailureRecords,
    read_failures,
)

BROKEN = InputError("is broken", "Copy it again.", about="scans/a.nii")


@pytest.fixture
def records(tmp_path):
    return FailureRecords(tmp_path / "out", (tmp_path / "scans").as_posix())


def names(found):
    return [(one.step, one.name) for one in found]


def test_a_failure_is_read_back_as_it_was(tmp_path, records):
    records.add(SEGMENTATION, "a.nii", BROKEN)
    records.add(COMPARISON, "sub-1", UnexpectedError("unexpected error (½)"))
    first, second = read_failures(tmp_path / "out")
    assert (first.reason, type(first.cause)) == (str(BROKEN), InputError)
    assert (first.cause.problem, first.cause.remedy) == (BROKEN.problem, BROKEN.remedy)
    assert (second.step, second.name) == (COMPARISON, "sub-1")
    assert isinstance(second.cause, UnexpectedError)


def test_a_run_knows_the_failures_of_others_since_it_began_and_not_those_of_before(
    tmp_path, records
):
    records.add(SEGMENTATION, "a.nii", BROKEN)
    later = FailureRecords(tmp_path / "out", (tmp_path / "scans").as_posix())
    assert later.of_other_run(SEGMENTATION, "a.nii") is None  # it is tried again
    records.add(SEGMENTATION, "a.nii", BROKEN)
    assert str(later.of_other_run(SEGMENTATION, "a.nii")) == str(BROKEN)
    assert later.of_other_run(SEGMENTATION, "b.nii") is None
    assert later.of_other_run(COMPARISON, "a.nii") is None


def test_only_failures_of_the_same_folder_and_step_are_forgotten(tmp_path, records):
    for name in ("a.nii", "b.nii"):
        records.add(SEGMENTATION, name, BROKEN)
    records.add(COMPARISON, "sub-1", BROKEN)
    FailureRecords(tmp_path / "out", (tmp_path / "others").as_posix()).add(
        SEGMENTATION, "c.nii", BROKEN
    )
    records.forget_others(SEGMENTATION, ["b.nii"])
    assert names(records.all()) == [
        (SEGMENTATION, "b.nii"),
        (SEGMENTATION, "c.nii"),
        (COMPARISON, "sub-1"),
    ]
    records.remove(SEGMENTATION, "b.nii")
    records.remove(SEGMENTATION, "missing.nii")
    assert names(records.all()) == [(SEGMENTATION, "c.nii"), (COMPARISON, "sub-1")]


def test_on_a_full_disk_a_failure_is_known_to_the_run_itself(tmp_path, records, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "_flush_to_disk", full)
    records.add(SEGMENTATION, "a.nii", BROKEN)
    assert read_failures(tmp_path / "out") == []
    assert names(records.all()) == [(SEGMENTATION, "a.nii")]


def test_names_that_utf_8_cannot_encode_are_written_as_escapes(tmp_path, records):
    records.add(SEGMENTATION, "caf\udce9.nii", InputError("is broken", about="caf\udce9.nii"))
    (found,) = read_failures(tmp_path / "out")
    assert found.name == "caf\\udce9.nii"
    records.remove(SEGMENTATION, "caf\udce9.nii")
    assert read_failures(tmp_path / "out") == []
