"""What the tables of a folder say, on a bundle whose answers are known by hand."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from tests.toys import write_head
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.cohort.segment_folder import segment_folder


@pytest.fixture
def results(tmp_path, toy_bundle):
    """Segment tmp_path/scans, and return the folder of the results."""

    def segment(**options):
        out = tmp_path / "out"
        segment_folder(tmp_path / "scans", out, load_bundle(toy_bundle), **options)
        return out

    return segment


def rows_of(table, delimiter=","):
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def test_every_column_of_every_table_is_described(tmp_path, results):
    write_head(tmp_path / "scans" / "sub-1_FLAIR.nii.gz")
    (tmp_path / "scans" / "broken_FLAIR.nii").write_bytes(b"no image")
    write_head(tmp_path / "scans" / "sub-1_T1w.nii.gz")
    out = results()
    tables = sorted(path.name for path in out.glob("*.csv"))
    assert tables == ["failures.csv", "skipped.csv", "volumes.csv"]
    for table in tables:
        described = json.loads((out / table).with_suffix(".json").read_text(encoding="utf-8"))
        assert list(described) == list(rows_of(out / table)[0])
        assert all(column["Description"] for column in described.values())


def test_a_dictionary_disappears_with_its_table(tmp_path, results):
    write_head(tmp_path / "scans" / "sub-1_FLAIR.nii.gz")
    broken = tmp_path / "scans" / "sub-2_FLAIR.nii.gz"
    broken.write_bytes(b"no image")
    assert (results() / "failures.json").exists()
    broken.unlink()
    assert not list(results().glob("failures.*"))


@pytest.mark.parametrize(
    ("scan", "participant", "session", "run"),
    [
        ("sub-1/ses-2/anat/sub-1_ses-2_run-3_FLAIR.nii.gz", "sub-1", "ses-2", "run-3"),
        ("Utrecht/12/orig/FLAIR.nii.gz", "12", "", ""),
        ("sub-7/ses-1/FLAIR.nii.gz", "sub-7", "ses-1", ""),
        ("patient 3 FLAIR.nii.gz", "patient 3 FLAIR", "", ""),
        ("P4_ses-b_FLAIR.nii.gz", "P4", "ses-b", ""),
    ],
)
def test_rows_say_subject_session_and_run(tmp_path, results, scan, participant, session, run):
    write_head(tmp_path / "scans" / scan)
    (row,) = rows_of(results() / "volumes.csv")
    found = row["participant_id"], row["session"], row["run"]
    assert found == (participant, session, run)


def test_the_label_map_and_its_table_have_each_lesion(tmp_path, results):
    write_head(tmp_path / "scans" / "sub-1_FLAIR.nii.gz", lesions=2)
    out = results()
    stem = out / "sub-1_space-orig_desc-lesions_dseg"
    labels = nib.load(f"{stem}.nii.gz")
    mask = nib.load(out / "sub-1_label-WMH_mask.nii.gz")
    numbers = np.asarray(labels.dataobj)
    assert ((numbers > 0) == (np.asarray(mask.dataobj) > 0)).all()
    assert np.array_equal(labels.affine, mask.affine)
    rows = rows_of(stem.with_suffix(".tsv"), delimiter="\t")
    assert [row["index"] for row in rows] == ["1", "2"]
    for row in rows:  # 2 × 2 × 2 voxels of 4 × 4 × 5 mm
        inside = numbers == int(row["index"])
        assert float(row["volume_mm3"]) == inside.sum() * 80 == 640
        center = np.append(np.argwhere(inside).mean(axis=0), 1)
        expected = (labels.affine @ center)[:3]
        assert [float(row[f"{axis}_mm"]) for axis in "xyz"] == pytest.approx(expected, abs=0.05)
        names = ("extent_left_right_mm", "extent_front_back_mm", "extent_bottom_top_mm")
        assert [row[name] for name in names] == ["8", "8", "10"]
        assert 0.75 <= float(row["mean_probability"]) <= 1
        assert row["location"] == row["atlas_region"] == "n/a"  # this network predicts no regions
    described = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    assert described["SpatialReference"] == "orig"
    assert {*rows[0]} < {*described}


def test_without_lesions_the_label_map_is_empty_and_so_is_its_table(tmp_path, results):
    write_head(tmp_path / "scans" / "sub-1_FLAIR.nii.gz", lesions=0)
    stem = results() / "sub-1_space-orig_desc-lesions_dseg"
    assert not np.asarray(nib.load(f"{stem}.nii.gz").dataobj).any()
    assert rows_of(stem.with_suffix(".tsv"), delimiter="\t") == []


def test_a_label_map_of_another_program_is_not_replaced(tmp_path, results):
    write_head(tmp_path / "scans" / "sub-1_FLAIR.nii.gz")
    (tmp_path / "out").mkdir()
    foreign = tmp_path / "out" / "sub-1_space-orig_desc-lesions_dseg.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), foreign)
    before = foreign.read_bytes()
    results()
    assert foreign.read_bytes() == before
    (row,) = rows_of(tmp_path / "out" / "failures.csv")
    assert "would replace files that this program did not write" in row["reason"]


def test_the_name_of_a_scan_is_no_formula(tmp_path, results):
    write_head(tmp_path / "scans" / "=1+1_FLAIR.nii.gz")
    text = (results() / "volumes.csv").read_text(encoding="utf-8")
    assert "\n'=1+1_FLAIR.nii.gz,'=1+1" in text
