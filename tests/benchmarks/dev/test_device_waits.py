import pytest

from benchmarks.dev.device_waits import measure_device_waits
from tests.toys import write_head
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.errors import InputError


@pytest.fixture
def scans(tmp_path):
    for name in "abcd":
        write_head(tmp_path / "scans" / f"{name}.nii")  # six slices each
    return tmp_path / "scans"


def test_the_run_takes_longer_than_the_device(toy_bundle, scans):
    waits = measure_device_waits(load_bundle(toy_bundle), scans, seconds_per_slice=0.01)
    assert (waits.scans, waits.slices) == (4, 24)
    assert waits.device_seconds == pytest.approx(24 * 0.01)
    assert waits.ratio >= 1
    assert waits.ratio == pytest.approx(waits.run_seconds / 0.24, abs=0.05)


def test_an_unusable_scan_is_an_error(toy_bundle, scans):
    (scans / "e.nii").write_bytes(b"")
    with pytest.raises(InputError, match=r"e\.nii: is empty"):
        measure_device_waits(load_bundle(toy_bundle), scans, seconds_per_slice=0.001)
