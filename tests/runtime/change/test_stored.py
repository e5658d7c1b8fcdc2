"""Which of the changes that are stored in a folder are of the results in it."""

import pytest

from tests.runtime.change.test_course import record
from tests.runtime.report.results_folder import write_result
from wmh_runtime.change.record import VisitRecord
from wmh_runtime.change.stored import read_changes
from wmh_runtime.outputs.folder_results import read_results

SCANS = ("sub-1/ses-1/FLAIR.nii.gz", "sub-1/ses-2/FLAIR.nii.gz")  # of one name


@pytest.fixture
def out(tmp_path):
    """Two results, and the change from one to the other."""
    sidecars = [write_result(tmp_path, scan) for scan in SCANS]
    visits = [
        VisitRecord(
            label=f"ses-{number}",
            date=None,
            scan=scan,
            scan_sha256=sidecar.input_sha256,
            mask="label-WMH_mask.nii.gz",
            mask_sha256=sidecar.mask_sha256,
            volume_ml=1,
            is_from_probability=True,
        )
        for number, (scan, sidecar) in enumerate(zip(SCANS, sidecars, strict=True), start=1)
    ]
    masks = [path.name for path in sorted(tmp_path.rglob("*_mask.nii.gz"))]
    visits = [
        one.model_copy(update={"mask": name}) for one, name in zip(visits, masks, strict=True)
    ]
    stored = record([1, 2]).model_copy(update={"visits": visits})
    (tmp_path / "longitudinal").mkdir()
    (tmp_path / "longitudinal" / "sub-1_change.json").write_text(stored.model_dump_json())
    return tmp_path


def state(out, results=None, failed=()):
    found = read_changes(out, read_results(out).results if results is None else results, failed)
    return len(found.current), len(found.outdated)


def test_a_change_of_the_results_in_the_folder_is_current(out):
    assert state(out) == (1, 0)


def test_without_one_of_its_results_it_is_outdated(out):
    first, second = read_results(out).results
    assert state(out, [first]) == state(out, [second]) == (0, 1)


def test_with_another_scan_or_mask_it_is_outdated(out):
    first, second = read_results(out).results
    for changed in ("input_sha256", "mask_sha256"):
        first.sidecar = first.sidecar.model_copy(update={changed: "other"})
        assert state(out, [first, second]) == (0, 1)
        (first, second) = read_results(out).results


def test_with_a_mask_that_was_edited_it_is_outdated(out):
    mask = next(out.rglob("*_mask.nii.gz"))
    mask.write_bytes(b"edited")
    assert state(out) == (0, 1)


def test_of_a_subject_that_failed_now_nothing_is_shown(out):
    assert state(out, failed=["sub-1"]) == (0, 0)
