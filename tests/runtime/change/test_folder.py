"""The change of all subjects of a folder: files, failures, resuming."""

import csv
import json
from dataclasses import replace
from datetime import date

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.runtime.change.visit_scans import STILL, box, head, write_visit
from wmh_runtime.change import folder as folder_module
from wmh_runtime.change.folder import change_of_folder
from wmh_runtime.change.measure import measure_change
from wmh_runtime.change.pair import interval as interval_module
from wmh_runtime.change.record import read_change_record
from wmh_runtime.change.report.writer import files_of_change
from wmh_runtime.claims.claims import Claims
from wmh_runtime.errors import InputError, UnexpectedError

pytest.importorskip("SimpleITK")

SHAPE = (26, 30, 14)
IMAGE = head(SHAPE)
OLD = box((6, 10), (6, 10), (4, 7), shape=SHAPE)
NEW = box((15, 19), (18, 22), (5, 8), shape=SHAPE)


def compare(out, groups, **options):
    return change_of_folder(out, groups, Claims(out / "claims"), **options)


@pytest.fixture
def unmoved(monkeypatch):
    """The scans are in place; nothing is registered."""
    monkeypatch.setattr(interval_module, "find_halfway", lambda *_: STILL)


@pytest.fixture
def visits(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    first = write_visit(out, "ses-1", OLD, image=IMAGE)
    second = write_visit(out, "ses-2", OLD | NEW, image=IMAGE)
    third = write_visit(out, "ses-3", NEW, image=IMAGE)
    dates = [date(2019, 1, 1), date(2020, 1, 1), date(2020, 7, 1)]
    return [replace(one, date=day) for one, day in zip((first, second, third), dates, strict=True)]


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_a_subject_with_three_visits(visits, unmoved, tmp_path):
    out = tmp_path / "out"
    outcome = compare(out, {"sub-1": visits})
    assert (outcome.done, outcome.kept, outcome.failed) == (["sub-1"], [], [])
    # Voxels of 2 x 2 x 3 mm: 4 x 4 x 3 of them are 576 mm³.
    rows = rows_of(out / "longitudinal" / "sub-1_change.tsv")
    assert [(row["later"], row["class"]) for row in rows] == [
        *(("ses-2", "stable"), ("ses-2", "new"), ("ses-3", "resolved"), ("ses-3", "stable"))
    ]
    assert {row["location"] for row in rows} == {"n/a"}
    new = rows[1]
    assert (new["before_mm3"], new["after_mm3"]) == ("0.0", "576.0")
    assert float(new["halfway_after_mm3"]) == pytest.approx(576, rel=0.06)  # without its corners
    assert [float(new[f"{axis}_mm"]) for axis in "xyz"] == pytest.approx([33, 39, 18], abs=0.5)
    record = json.loads((out / "longitudinal" / "sub-1_change.json").read_text())
    assert [one["volume_ml"] for one in record["visits"]] == [0.576, 1.152, 0.576]
    first, second = record["intervals"]
    assert (first["change_ml"], first["change_percent"], first["days"]) == (0.576, 100, 365)
    assert second["days"] == 182
    assert first["classes"]["new"]["count"] == second["classes"]["resolved"]["count"] == 1
    classes = nib.load(out / "sub-1_ses-2_space-orig_seg-change_dseg.nii.gz")
    np.testing.assert_array_equal(classes.affine, nib.load(visits[1].scan).affine)
    numbers = np.asarray(classes.dataobj)
    assert np.unique(numbers[OLD]).tolist() == [5]
    assert np.unique(numbers[box((16, 18), (19, 21), (5, 8), shape=SHAPE)]).tolist() == [1]
    assert rows_of(out / "sub-1_ses-3_space-orig_seg-change_dseg.tsv")[3]["name"] == "resolved"
    assert all(path.exists() for path in files_of_change(out, "sub-1", visits))
    with Image.open(out / "longitudinal" / "sub-1_ses-2_change.png") as picture:
        assert picture.width == 1500


def test_a_subject_without_lesions_has_a_table_without_rows(tmp_path, unmoved):
    nothing = np.zeros(SHAPE, bool)
    two = [write_visit(tmp_path, label, nothing, image=IMAGE) for label in ("ses-1", "ses-2")]
    assert compare(tmp_path, {"sub-1": two}).done == ["sub-1"]
    text = (tmp_path / "longitudinal" / "sub-1_change.tsv").read_text()
    assert text.startswith("subject\tearlier\tlater\tlesion\tclass")
    assert text.count("\n") == 1
    record = read_change_record(tmp_path / "longitudinal" / "sub-1_change.json")
    assert record.intervals[0].change_percent is None


def test_one_subject_that_fails_does_not_stop_the_others(visits, unmoved, tmp_path, monkeypatch):
    out = tmp_path / "out"
    broken = replace(visits[0], mask=out / "missing.nii.gz")
    groups = {
        "sub-9": [broken, visits[1]],
        "sub-8": [visits[0], replace(visits[1], label="ses-1")],
        "sub-7": visits[:1],
        "../sub-6": visits[:2],
        "sub-5": InputError("has no dates"),
        "sub-1": visits[:2],
    }
    seen = []
    outcome = compare(out, groups, on_subject=lambda *one: seen.append(one))
    assert outcome.done == ["sub-1"]
    assert [subject for subject, _ in outcome.failed] == [
        *("sub-9", "sub-8", "sub-7", "../sub-6", "sub-5")
    ]
    assert [str(error).split(": ", 1)[1][:34] for _, error in outcome.failed[1:]] == [
        "has more than one scan of the visi",
        "has 1 of the two visits that are n",
        "has the name '../sub-6', which can",
        "has no dates",
    ]
    assert "missing.nii.gz" in str(outcome.failed[0][1])
    assert [subject for subject, _ in seen] == list(groups)
    assert not list(tmp_path.rglob("*sub-6*"))


def test_labels_of_one_session_are_refused(visits, tmp_path):
    groups = {"sub-1": [replace(visits[0], label="2"), replace(visits[1], label="ses-2")]}
    ((_, error),) = compare(tmp_path / "out", groups).failed
    assert "has more than one scan of the visit ses-2" in str(error)


def test_an_image_of_another_program_is_not_replaced(visits, unmoved, tmp_path):
    out = tmp_path / "out"
    foreign = out / "sub-1_ses-2_space-orig_seg-change_dseg.nii.gz"
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.eye(4)), foreign)
    before = foreign.read_bytes()
    ((_, error),) = compare(out, {"sub-1": visits[:2]}).failed
    assert "would replace an image that this program did not write" in str(error)
    assert foreign.read_bytes() == before


def test_files_of_visits_that_are_no_longer_there_are_removed(visits, unmoved, tmp_path):
    out = tmp_path / "out"
    compare(out, {"sub-1": visits})
    assert len(list(out.rglob("*ses-3*change*"))) == 4  # picture, label map, table, JSON file
    compare(out, {"sub-1": visits[:2]})
    assert not list(out.rglob("*ses-3*change*"))
    assert all(path.exists() for path in files_of_change(out, "sub-1", visits[:2]))


def test_a_bug_is_the_failure_of_one_subject(visits, tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(folder_module, "measure_change", fail)
    outcome = compare(tmp_path / "out", {"sub-1": visits})
    assert isinstance(outcome.failed[0][1], UnexpectedError)
    assert "ZeroDivisionError" in (tmp_path / "out" / "errors.log").read_text()


def test_subjects_are_measured_again_only_if_something_has_changed(visits, unmoved, tmp_path):
    out, groups = tmp_path / "out", {"sub-1": visits[:2]}
    assert compare(out, groups).done == ["sub-1"]
    assert compare(out, groups).kept == ["sub-1"]
    assert compare(out, groups, overwrite=True).done == ["sub-1"]
    (out / "longitudinal" / "sub-1_ses-2_change.png").unlink()
    assert compare(out, groups).done == ["sub-1"]
    write_visit(out, "ses-2", OLD, image=IMAGE)  # a mask that was corrected
    assert compare(out, groups).done == ["sub-1"]
    other_date = [visits[0], replace(visits[1], date=date(2021, 1, 1))]
    assert compare(out, {"sub-1": other_date}).done == ["sub-1"]
    (out / "longitudinal" / "sub-1_change.json").write_text("{}")
    assert compare(out, {"sub-1": other_date}).done == ["sub-1"]


def test_a_file_that_cannot_be_read_is_named(visits, tmp_path):
    visits[0].scan.write_bytes(b"no image")
    with pytest.raises(InputError, match="ses-1_FLAIR"):
        measure_change(visits[:2], "sub-1")
