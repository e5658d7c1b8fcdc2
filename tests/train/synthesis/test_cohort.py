"""A data set of synthetic heads, written by the command and read by the training."""

import json

import nibabel as nib
import numpy as np
import pytest

from tests.train.synthesis.toy_maps import write_toy_map, write_toy_mask
from wmh_runtime.dataset import bids
from wmh_train.cli import main
from wmh_train.data.layouts import find_dataset
from wmh_train.synthesis.tissues import REGIONS


@pytest.mark.exhaustive
def test_the_command_writes_a_data_set_that_training_reads_and_continues_it(tmp_path, run_command):
    for name in ("maps", "masks"):
        (tmp_path / name).mkdir()
    write_toy_map(tmp_path / "maps" / "a.nii.gz")
    write_toy_mask(tmp_path / "masks" / "a.nii.gz")
    data = tmp_path / "data"
    command = (main, "synthesise", tmp_path / "maps", data, "--lesion-masks", tmp_path / "masks")
    status, output, errors = run_command(*command, "--heads", 2, "--seed", 4, "--workers", 1)
    assert status == 0, errors
    assert f"2 heads in {data}" in output
    names = ["sub-4x00000", "sub-4x00001"]
    dataset = find_dataset(data, ["flair", "t1"], ["wmh", *REGIONS])
    assert [scan.name for scan in dataset.scans] == names
    assert dataset.name == "synthetic heads"
    flair, mask = (
        nib.load(data / path)
        for path in (
            f"{names[0]}_FLAIR.nii.gz",
            bids.REFERENCES / f"{names[0]}_label-WHITE_mask.nii.gz",
        )
    )
    np.testing.assert_array_equal(flair.affine, mask.affine)
    description = json.loads((data / "dataset_description.json").read_text(encoding="utf-8"))
    assert description["Synthesis"]["seed"] == 4

    written = (data / f"{names[0]}_FLAIR.nii.gz").read_bytes()
    (data / f"{names[1]}_FLAIR.nii.gz").unlink()  # as if it had been stopped
    (data / f"{names[0]}_T1w.nii.gz").write_bytes(b"kept")
    assert run_command(*command, "--heads", 2, "--seed", 4, "--workers", 1)[0] == 0
    assert (data / f"{names[0]}_FLAIR.nii.gz").read_bytes() == written
    assert (data / f"{names[0]}_T1w.nii.gz").read_bytes() == b"kept"
    assert (data / f"{names[1]}_FLAIR.nii.gz").exists()


def test_a_folder_without_label_maps_is_refused(tmp_path, run_command):
    status, _, errors = run_command(main, "synthesise", tmp_path, tmp_path / "data")
    assert (status, "contains no image. Give a folder" in errors) == (2, True)
    assert not (tmp_path / "data").exists()


def with_toy_sources(folder):
    for name, write in (("maps", write_toy_map), ("masks", write_toy_mask)):
        (folder / name).mkdir()
        write(folder / name / "a.nii.gz")
    return (main, "synthesise", folder / "maps", folder / "data", "--workers", 1)


def test_heads_of_another_seed_are_not_mixed_in(tmp_path, run_command):
    command = with_toy_sources(tmp_path)
    assert run_command(*command, "--heads", 2, "--seed", 4)[0] == 0
    status, _, errors = run_command(*command, "--heads", 2, "--seed", 5)
    assert (status, "data: has heads of other settings, another seed" in errors) == (2, True)
    assert run_command(*command, "--heads", 1, "--seed", 4)[0] == 0  # both keep their site
    rows = (tmp_path / "data" / "participants.tsv").read_text().splitlines()
    assert rows[1:] == ["sub-4x00000\tsynthetic", "sub-4x00001\tsynthetic"]


def changed_map(path, change, zoom=1.0):
    image = nib.load(path)
    labels = np.asarray(image.dataobj).copy()
    change(labels)
    nib.save(nib.Nifti1Image(labels, image.affine @ np.diag([zoom, zoom, zoom, 1])), path)


def without_cerebellum(labels):
    labels[labels == 8] = 0


def with_parcels(labels):
    labels[labels == 3] = 1002


@pytest.mark.parametrize(
    ("change", "zoom", "problem"),
    [
        (without_cerebellum, 1.0, "has no cerebellar cortex"),
        (with_parcels, 1.0, "has labels without a known tissue, such as 1002"),
        (lambda labels: None, 0.7, "has voxels of 0.7 × 0.7 × 0.7 mm. Resample it to 1 mm"),
    ],
)
def test_label_maps_that_would_give_wrong_heads_are_refused(
    tmp_path, run_command, change, zoom, problem
):
    command = with_toy_sources(tmp_path)
    changed_map(tmp_path / "maps" / "a.nii.gz", change, zoom)
    status, _, errors = run_command(*command, "--heads", 1)
    assert (status, f"a.nii.gz: {problem}" in errors) == (2, True), errors
    assert not (tmp_path / "data").exists()


def test_a_file_that_is_no_image_is_named(tmp_path, run_command):
    command = with_toy_sources(tmp_path)
    (tmp_path / "maps" / "b.nii.gz").write_bytes(b"no image")
    status, _, errors = run_command(*command, "--heads", 1)
    assert (status, f"{tmp_path / 'maps' / 'b.nii.gz'}: " in errors) == (2, True), errors
