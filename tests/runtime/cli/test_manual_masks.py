"""Corrected masks: `wmh-infer` takes them instead of those of the network."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from tests.toys import write_head
from wmh_runtime.cli.infer import main

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
    assert (status, "2 scans finished, 1 of them by earlier runs" in said) == (0, True)
    assert "sub/b.nii: WMH 0.24 mL in 2 lesions; manual mask" in said
    row = row_of(tmp_path)
    assert (before["mask_source"], row["mask_source"]) == ("model", "manual")
    assert float(row["volume_ml"]) == pytest.approx(3 * VOXEL_MM3 / 1000)
    assert (row["lesion_count"], row["largest_lesion_mm3"]) == ("2", "160")
    mask = np.asarray(nib.load(tmp_path / "out" / row["mask"]).dataobj)
    assert mask.sum() == 3
    sidecar = json.loads((tmp_path / "out" / "sub" / "b_label-WMH_mask.json").read_text())
    assert sidecar["manual"]["file"] == "b_label-WMH_mask.nii.gz"
    assert row_of(tmp_path, "a.nii")["mask_source"] == "model"


def test_a_result_of_a_manual_mask_is_kept_until_the_mask_changes_or_goes(tmp_path, infer):
    draw(tmp_path, [(8, 8, 2)])
    infer()
    assert "2 scans finished, 2 of them by earlier runs" in infer()[1]
    drawn = draw(tmp_path, [(8, 8, 2), (8, 8, 3)])
    infer()
    assert float(row_of(tmp_path)["volume_ml"]) == pytest.approx(2 * VOXEL_MM3 / 1000)
    drawn.unlink()
    infer()
    assert row_of(tmp_path)["mask_source"] == "model"
    assert row_of(tmp_path)["volume_ml"] == row_of(tmp_path, "a.nii")["volume_ml"]


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
