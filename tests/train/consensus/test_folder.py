import nibabel as nib
import numpy as np
import pytest

from tests.toys import write_head
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.errors import InputError
from wmh_runtime.files.tables import read_table
from wmh_train.cli import main
from wmh_train.consensus.folder import write_consensus
from wmh_train.consensus.method import Method

AFFINE = np.diag([-4.0, -4.0, 5.0, 1.0])
AFFINE[:3, 3] = (47, 61, -12)


@pytest.fixture
def scans(tmp_path):
    for number in range(3):
        write_head(tmp_path / "scans" / f"sub-{number}_FLAIR.nii.gz", seed=number)
    return tmp_path / "scans"


def write_mask(path, first, last, affine=AFFINE):
    mask = np.zeros((24, 30, 6), np.uint8)
    mask[10:12, first:last, 2:4] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(mask, affine), path)


def run(scans, folders, out, notes=None):
    cases, on_note = discover(scans).scans, [].append if notes is None else notes.append
    return {one.name: one for one in write_consensus(cases, folders, out, Method.UNION, on_note)}


def test_a_rater_without_any_mask_is_refused_and_unused_masks_are_named(scans, tmp_path):
    for number in range(3):
        write_mask(tmp_path / "a" / f"sub-{number}_label-WMH_mask.nii.gz", 6, 8)
        write_mask(tmp_path / "b" / f"sub-{number}_label-GM_mask.nii.gz", 7, 10)
    folders, notes = [tmp_path / "a", tmp_path / "b"], []
    with pytest.raises(InputError, match="3 images with the label of another tissue, such as sub-"):
        run(scans, folders, tmp_path / "out")
    write_mask(tmp_path / "b" / "sub-0.nii.gz", 7, 10)
    results = run(scans, folders, tmp_path / "out", notes)
    assert [results[f"sub-{number}"].raters for number in range(3)] == [2, 1, 1]
    (note,) = notes
    assert note.startswith(f"{tmp_path / 'b'}: not used: 3 images with the label")
    assert note.endswith("1 of 3 scans have a mask")


def test_masks_and_table_are_written_and_the_other_scans_go_on(scans, tmp_path):
    write_mask(tmp_path / "a" / "sub-0_label-WMH_mask.nii.gz", 6, 8)
    write_mask(tmp_path / "b" / "sub-0.nii.gz", 7, 10)
    moved = AFFINE.copy()
    moved[:3, 3] += 10
    write_mask(tmp_path / "a" / "sub-1_mask.nii.gz", 6, 8, moved)  # on another grid
    results = run(scans, [tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert results["sub-0"].raters == 2
    assert "sub-1_mask.nii.gz" in str(results["sub-1"].error)
    assert results["sub-2"].raters == 0
    mask = nib.load(tmp_path / "out" / "sub-0_label-WMH_mask.nii.gz")
    np.testing.assert_allclose(mask.affine, AFFINE)
    assert mask.get_fdata().sum() == 2 * 4 * 2  # rows 6 to 9
    probability = nib.load(tmp_path / "out" / "sub-0_label-WMH_probseg.nii.gz").get_fdata()
    assert set(np.unique(probability)) == {0, 0.5, 1}
    first, second = read_table(tmp_path / "out" / "raters.csv")
    assert first["rater"] == "a"
    assert first["sensitivity"] == "0.50000"  # rows 6 and 7 of four
    assert second["sensitivity"] == "0.75000"
    # A voxel has 4 × 4 × 5 mm = 0.08 mL; the masks have 8, 12 and 16 voxels.
    assert (first["rater_ml"], second["rater_ml"], first["consensus_ml"]) == (
        "0.640",
        "0.960",
        "1.280",
    )


def test_a_rater_without_a_mask_of_a_scan_is_said(scans, tmp_path):
    for rater, numbers in (("a", "01"), ("b", "01"), ("c", "0")):
        for number in numbers:
            write_mask(tmp_path / rater / f"sub-{number}.nii.gz", 6, 8)
    results = run(scans, [tmp_path / name for name in "abc"], tmp_path / "out")
    assert results["sub-0"].notes == ()
    assert [str(note) for note in results["sub-1"].notes] == ["only 2 raters of 3"]
    rows = read_table(tmp_path / "out" / "raters.csv")
    assert [(row["scan"], row["rater"], row["notes"]) for row in rows] == [
        ("sub-0", "a", ""),
        ("sub-0", "b", ""),
        ("sub-0", "c", ""),
        ("sub-1", "a", "only 2 raters of 3"),
        ("sub-1", "b", "only 2 raters of 3"),
    ]


def test_the_command_sums_up_notes_of_one_kind(scans, tmp_path, run_command):
    for number in range(3):  # two raters that share nothing; the third scan has one of them
        write_mask(tmp_path / "a" / f"sub-{number}.nii.gz", 6, 8)
        if number < 2:
            write_mask(tmp_path / "b" / f"sub-{number}.nii.gz", 8, 10)
    command = (main, "consensus", scans, tmp_path / "a", tmp_path / "b")
    status, output, errors = run_command(*command, "--out", tmp_path / "out", "--method", "union")
    assert status == 0
    assert f"consensus of 3 scans in {tmp_path / 'out'}" in output
    assert errors.splitlines() == [
        "warning: 2 scans, sub-0, sub-1: the masks hardly share a voxel",
        "warning: sub-2: one mask only: it is taken as it is",
    ]


def test_masks_of_other_scans_are_an_error(scans, tmp_path):
    write_mask(tmp_path / "a" / "sub-9.nii.gz", 6, 8)
    with pytest.raises(InputError, match="no mask with the name of a scan, such as sub-0"):
        run(scans, [tmp_path / "a"], tmp_path / "out")


def test_two_folders_of_one_name_are_an_error(scans, tmp_path):
    for parent in "xy":
        write_mask(tmp_path / parent / "lst" / "sub-0.nii.gz", 6, 8)
    with pytest.raises(InputError, match="two folders of masks have the name lst"):
        run(scans, [tmp_path / "x" / "lst", tmp_path / "y" / "lst"], tmp_path / "out")
