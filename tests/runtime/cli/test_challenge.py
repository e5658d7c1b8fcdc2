"""The WMH challenge as published: `wmh-infer` on its folder, and `wmh-eval` on the results."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.toys import write_head
from wmh_runtime.cli.infer.main import main
from wmh_runtime.cli.launcher import evaluate

SUBJECTS = ("training/Utrecht/0", "training/Utrecht/2", "training/Amsterdam/GE3T/100")
SITES = ["Amsterdam/GE3T", "Utrecht", "Utrecht"]


@pytest.fixture
def challenge(tmp_path):
    """Three subjects with one cube of lesion each, which the toy network finds."""
    for number, subject in enumerate(SUBJECTS):
        folder = tmp_path / "data" / subject
        for name in ("orig/FLAIR", "pre/FLAIR", "orig/T1", "pre/T1", "orig/3DT1"):
            path = write_head(folder / f"{name}.nii.gz", seed=number)
        head = nib.load(path)
        mask = (head.get_fdata() > 200).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, head.affine), folder / "wmh.nii.gz")
    return tmp_path


@pytest.fixture
def segment(challenge, toy_bundle, run_command):
    def run(*options):
        known = ("--bundle", toy_bundle, "--backend", "onnxruntime", "--min-lesion-mm3", "0")
        return run_command(main, challenge / "data", challenge / "results", *known, *options)

    return run


def cases_of(report):
    with (report / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def share_of_empty_grid(report):
    return (np.asarray(Image.open(report / "errors.png")) == 68).all(axis=2).mean()


def test_each_subject_is_segmented_once_and_evaluated(challenge, segment, run_command):
    status, said, _ = segment()
    assert status == 0
    assert "3 scans to segment" in said
    assert "(9 T1 images, 3 masks, 3 processed versions)" in said
    report = challenge / "report"
    status, _, errors = run_command(
        *(evaluate, challenge / "results", challenge / "data"),
        *("--scans", challenge / "data", "--out", report),
    )
    assert (status, errors) == (0, "")
    assert sorted(row["name"] for row in cases_of(report)) == sorted(SUBJECTS)
    assert sorted(row["site"] for row in cases_of(report)) == SITES
    assert all(float(row["dice"]) == 1 for row in cases_of(report))
    assert share_of_empty_grid(report) < 0.1  # the scans are drawn


def test_a_table_keeps_names_sites_and_the_picture_of_errors(challenge, segment, run_command):
    segment()
    mask = "orig/FLAIR_label-WMH_mask.nii.gz"
    rows = [f"results/{subject}/{mask},data/{subject}/wmh.nii.gz" for subject in SUBJECTS]
    table, report = challenge / "pairs.csv", challenge / "report"
    table.write_text("\n".join(["prediction,reference", *rows]))
    status, _, errors = run_command(
        *(evaluate, challenge / "results", table),
        *("--scans", challenge / "data", "--out", report),
    )
    assert (status, errors) == (0, "")
    assert sorted(row["name"] for row in cases_of(report)) == sorted(SUBJECTS)
    assert sorted(row["site"] for row in cases_of(report)) == SITES
    assert share_of_empty_grid(report) < 0.1


def test_masks_without_a_counterpart_are_told_apart(challenge, segment, run_command):
    segment()
    for subject in SUBJECTS[1:]:
        (challenge / "data" / subject / "wmh.nii.gz").unlink()
    _, said, _ = run_command(
        evaluate, challenge / "results", challenge / "data", "--out", challenge / "report"
    )
    mask = "orig/FLAIR_label-WMH_mask.nii.gz"
    assert f"{SUBJECTS[2]}/{mask}, {SUBJECTS[1]}/{mask}" in said


def test_both_scans_of_a_subject_can_be_segmented_and_compared_in_a_table(
    challenge, segment, run_command
):
    assert segment("--pattern", "FLAIR.nii.gz")[0] == 0
    subject, mask = SUBJECTS[0], "FLAIR_label-WMH_mask.nii.gz"
    rows = [f"{subject}/{part}/{mask},data/{subject}/wmh.nii.gz" for part in ("orig", "pre")]
    table = challenge / "pairs.csv"
    table.write_text("\n".join(["prediction,reference", *rows]))
    report = challenge / "report"
    status, _, _ = run_command(evaluate, challenge / "results", table, "--out", report)
    assert status == 0
    assert [Path(row["name"]).parent.name for row in cases_of(report)] == ["orig", "pre"]
