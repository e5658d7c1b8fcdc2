"""The measurements of whole folders, on toy heads: that they count what was done."""

import pytest

from tests.toys import write_head, write_toy_bundle
from wmh_bench.cohort_speed import measure_cohort_speed
from wmh_bench.device_waits import measure_device_waits
from wmh_runtime.backends.onnxruntime import OnnxRuntimeBackend
from wmh_runtime.bundle import open_bundle
from wmh_runtime.errors import InputError


@pytest.fixture
def scans(tmp_path):
    for name in "abcd":
        write_head(tmp_path / "scans" / f"{name}.nii")  # six slices each, two with a lesion
    return tmp_path / "scans"


@pytest.fixture
def bundle(tmp_path):
    return open_bundle(write_toy_bundle(tmp_path / "bundle"))


def test_a_device_that_sleeps_is_waited_for(bundle, scans):
    measured = measure_device_waits(bundle, scans, seconds_a_slice=0.01)
    assert (measured.scans, measured.slices) == (4, 24)
    assert measured.seconds_device == pytest.approx(24 * 0.01)
    assert measured.ratio >= 1
    assert measured.ratio == pytest.approx(measured.seconds_run / 0.24, abs=0.05)


def test_scans_that_cannot_be_used_are_no_measurement(bundle, scans):
    (scans / "e.nii").write_bytes(b"")
    with pytest.raises(InputError, match=r"e\.nii: is empty"):
        measure_device_waits(bundle, scans, seconds_a_slice=0.001)


@pytest.mark.parametrize(("tta", "views"), [("full", 24 * 8), ("none", 24), ("adaptive", 24 + 56)])
def test_views_are_counted_as_they_were_executed(bundle, scans, tmp_path, monkeypatch, tta, views):
    monkeypatch.setattr("wmh_bench.cohort_speed._ALONE_S", 0.05)
    told = []
    measured = measure_cohort_speed(
        bundle, scans, tmp_path / "out", OnnxRuntimeBackend, "fp32", tta, lambda: told.append(1)
    )
    assert len(told) == measured.scans == 4
    assert measured.views == views  # adaptive: two slices of four heads in seven more views
    assert measured.views_a_second == pytest.approx(views / measured.seconds, rel=0.1)
    assert len(measured.memory_mb) == 10
    assert max(measured.memory_mb) <= measured.peak_memory_mb + 1  # rounded, and read differently
