"""Corrected masks: `wmh-infer` takes them instead of those of the network."""

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from tests.toys import write_head
from wmh_runtime.cli.infer.main import main
from wmh_runtime.dataset import manual_masks
from wmh_runtime.inference.predictor import Predictor

VOXEL_MM3 = 4 * 4 * 5


@pytest.fixture
def infer(tmp_path, toy_bundle, run_command):
    for name in ("a", "sub/b"):
        write_head(tmp_path / "scans" / f"{name}.nii", lesions=2)

    def run(*options, source=tmp_path / "scans"):
        known = ("--bundle", toy_bundle, "--backend", "onnxruntime")
        return run_command(main, source, tmp_path / "out", *options, *known)

    return run


def draw(tmp_path, voxels, scan="sub/b", dtype=np.uint8):
    """Write a manual mask with some voxels on the grid of a scan; return its path."""
    image = nib.load(tmp_path / "scans" / f"{scan}.nii")
    mask = np.zeros(image.shape, dtype)
    for voxel in voxels:
        mask[voxel] = 1
    path = tmp_path / "scans" / "derivatives" / "manual" / f"{scan}_label-WMH_mask.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(mask, image.affine), path)
    return path


def row_of(tmp_path, scan="sub/b.nii"):
    with (tmp_path / "out" / "volumes.csv").open(encoding="utf-8") as file:
        return next(row for row in csv.DictReader(file) if row["scan"] == scan)


def test_volumes_lesions_and_mask_are_those_of_the_manual_mask(tmp_path, infer):
    assert infer()[0] == 0
    before = row_of(tmp_path)
    # A lesion of two voxels and one of a single voxel, which the threshold of size would remove.
    draw(tmp_path, [(8, 8, 2), (8, 9, 2), (12, 12, 3)])
    status, said, _ = infer()
    assert (status, "2 scans finished, 1 of them by earlier or other runs" in said) == (0, True)
    assert "sub/b.nii: WMH 0.24 mL in 2 lesions; corrected mask" in said
    row = row_of(tmp_path)
    assert (before["mask_source"], row["mask_source"]) == ("model", "manual")
    assert float(row["volume_ml"]) == pytest.approx(3 * VOXEL_MM3 / 1000)
    assert (row["lesion_count"], row["largest_lesion_mm3"]) == ("2", "160")
    mask = np.asarray(nib.load(tmp_path / "out" / row["mask"]).dataobj)
    assert mask.sum() == 3
    sidecar = json.loads((tmp_path / "out" / "sub" / "b_label-WMH_mask.json").read_text())
    assert sidecar["manual"]["file"] == "derivatives/manual/sub/b_label-WMH_mask.nii.gz"
    assert row_of(tmp_path, "a.nii")["mask_source"] == "model"


def test_a_result_of_a_manual_mask_is_kept_until_the_mask_changes_or_goes(tmp_path, infer):
    draw(tmp_path, [(8, 8, 2)])
    infer()
    assert "2 scans finished, 2 of them by earlier or other runs" in infer()[1]
    drawn = draw(tmp_path, [(8, 8, 2), (8, 8, 3)])
    infer()
    assert float(row_of(tmp_path)["volume_ml"]) == pytest.approx(2 * VOXEL_MM3 / 1000)
    drawn.unlink()
    infer()
    assert row_of(tmp_path)["mask_source"] == "model"
    assert row_of(tmp_path)["volume_ml"] == row_of(tmp_path, "a.nii")["volume_ml"]


def test_a_mask_that_was_edited_in_the_results_can_be_moved_or_copied(tmp_path, infer):
    infer()
    result = tmp_path / "out" / "sub" / "b_label-WMH_mask.nii.gz"
    drawn = draw(tmp_path, [(8, 8, 2)])
    shutil.copy(drawn, result)
    drawn.unlink()
    _, _, errors = infer()
    assert "mask was changed after it was written" in row_of(tmp_path)["warnings"]
    shutil.copy(result, drawn)  # as the warning advises
    status, _, errors = infer()
    assert status == 0, errors
    assert row_of(tmp_path)["mask_source"] == "manual"
    assert row_of(tmp_path)["warnings"].count("changed") == 0


def test_a_plain_nifti_file_is_a_manual_mask_too(tmp_path, infer):
    packed = draw(tmp_path, [(8, 8, 2)])
    nib.save(nib.load(packed), packed.with_suffix(""))  # .nii
    packed.unlink()
    infer()
    row = row_of(tmp_path)
    assert (row["mask_source"], row["threshold"], row["min_lesion_mm3"]) == ("manual", "", "")
    sidecar = json.loads((tmp_path / "out" / "sub" / "b_label-WMH_mask.json").read_text())
    assert sidecar["Sources"] == ["b.nii", "derivatives/manual/sub/b_label-WMH_mask.nii"]


def test_masks_that_are_not_used_are_named_with_the_reason(tmp_path, infer):
    used = draw(tmp_path, [(8, 8, 2)])
    nib.save(nib.load(used), used.with_suffix(""))  # the same scan again
    shutil.copy(used, used.with_name("b_lesions.nii.gz"))
    hidden = used.parent / ".git" / "c_label-WMH_mask.nii.gz"
    hidden.parent.mkdir()
    shutil.copy(used, hidden)
    _, said, errors = infer("--dry-run")
    assert "sub/b.nii -> " in said
    assert "(corrected mask of wmh)" in said
    assert "1 scan with a corrected mask" in said
    folder = "derivatives/manual"
    for line in (
        f"{folder}/sub/b_label-WMH_mask.nii.gz: corrected mask, not used: b_label-WMH_mask.nii is"
        " of the same scan",
        f"{folder}/sub/b_lesions.nii.gz: corrected mask, not used: its folder and name are not"
        " those of the mask of a scan, such as a_label-WMH_mask.nii.gz",
    ):
        assert line in " ".join(errors.split())
    assert errors.count("not used") == 2
    status, _, errors = infer()
    assert (status, errors.count("corrected mask, not used: ")) == (0, 2)
    skipped = (tmp_path / "out" / "skipped.csv").read_text(encoding="utf-8")
    assert f'{folder}/sub/b_lesions.nii.gz,"its folder and name' in skipped


def test_a_corrected_mask_that_is_missing_behind_its_link_fails_its_scan(tmp_path, infer):
    path = draw(tmp_path, [(8, 8, 2)])
    infer()
    path.rename(tmp_path / "elsewhere.nii.gz")
    path.symlink_to(tmp_path / "not there.nii.gz")  # as after `datalad drop`
    status, _, errors = infer()
    assert status == 1
    assert "is a corrected mask that cannot be read" in " ".join(errors.split())
    sidecar = json.loads((tmp_path / "out" / "sub" / "b_label-WMH_mask.json").read_text())
    assert sidecar["manual"] is not None  # its result is still there


def test_a_folder_of_corrected_masks_that_cannot_be_read_stops_the_run(
    tmp_path, infer, monkeypatch
):
    draw(tmp_path, [(8, 8, 2)])

    def refuse(folder, on_unreadable):
        on_unreadable(PermissionError(13, "Permission denied", str(folder)))
        return iter(())

    monkeypatch.setattr(manual_masks, "walk", refuse)
    status, _, errors = infer()
    assert (status, "folder of corrected masks that cannot be read" in errors) == (2, True)


def test_a_corrected_mask_that_is_gone_is_said(tmp_path, infer):
    path = draw(tmp_path, [(8, 8, 2)])
    infer()
    path.unlink()
    assert "sub/b.nii: its corrected mask is gone" in infer("--dry-run")[2]
    assert "sub/b.nii: its corrected mask is gone" in infer()[2]
    assert "is gone" not in infer()[2]


def test_other_pathology_empty_masks_and_air_are_warnings(tmp_path, infer):
    path = draw(tmp_path, [(8, 8, 2), (0, 0, 0)])  # the second one is in the air
    image = nib.load(path)
    labels = np.asarray(image.dataobj).copy()
    labels[9, 9, 2] = labels[9, 10, 2] = 2
    nib.save(nib.Nifti1Image(labels, image.affine), path)
    draw(tmp_path, [], scan="a")
    _, _, errors = infer()
    errors = " ".join(errors.split())
    assert "0.16 mL of the corrected mask have the label 2" in errors  # two voxels of 80 mm³
    assert "0.08 mL of the corrected mask lie outside of the head" in errors
    assert "a.nii: the corrected mask is empty: no lesion is counted" in errors


def test_lesions_with_the_label_of_other_pathology_only_are_refused(tmp_path, infer):
    path = draw(tmp_path, [(8, 8, 2)])
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * 2, image.affine), path)
    status, _, errors = infer()
    assert (status, "but no voxel with the label 1" in " ".join(errors.split())) == (1, True)


def test_of_other_scans_than_those_of_this_run_nothing_is_said(tmp_path, infer):
    draw(tmp_path, [(8, 8, 2)])
    assert "not used" not in infer(source=tmp_path / "scans" / "a.nii")[2]
    assert "not used" not in infer("--pattern", "a.nii")[2]


def test_a_manual_mask_that_cannot_be_used_costs_no_time_of_the_network(
    tmp_path, infer, monkeypatch
):
    draw(tmp_path, [(8, 8, 2)], scan="a").write_bytes(b"no image")
    draw(tmp_path, [(8, 8, 2)]).write_bytes(b"no image")

    def predict(*_):
        raise AssertionError("the network ran")

    monkeypatch.setattr(Predictor, "predict", predict)
    status, _, errors = infer()
    assert (status, "the network ran" in errors) == (2, False)
    assert "2 scans failed" in errors


def test_an_empty_manual_mask_means_no_lesions(tmp_path, infer):
    draw(tmp_path, [])
    infer()
    row = row_of(tmp_path)
    assert (row["volume_ml"], row["lesion_count"], row["mask_source"]) == ("0.0000", "0", "manual")


def test_a_manual_mask_on_another_grid_fails_its_scan_only(tmp_path, infer):
    path = draw(tmp_path, [(8, 8, 2)])
    image = nib.load(path)
    moved = image.affine.copy()
    moved[0, 3] += 4
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), path)
    status, said, errors = infer()
    assert (status, "1 scan finished" in said) == (1, True)
    assert "b_label-WMH_mask.nii.gz" in errors
    assert "grid" in errors


def test_the_manual_mask_of_a_single_scan_is_found_beside_it(tmp_path, infer):
    draw(tmp_path, [(8, 8, 2)], scan="a")
    infer(source=tmp_path / "scans" / "a.nii")
    assert row_of(tmp_path, "a.nii")["mask_source"] == "manual"
