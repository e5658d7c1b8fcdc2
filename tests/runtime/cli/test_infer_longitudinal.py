"""`wmh-infer --longitudinal` and `--viewer` as users call them. Nothing is registered here."""

import csv
import json

import numpy as np
import pytest

from tests.toys import write_head
from wmh_runtime.change.pair import interval as interval_module
from wmh_runtime.change.pair.halfway import HalfwayTransforms
from wmh_runtime.cli.infer import main

pytest.importorskip("SimpleITK")
STILL = HalfwayTransforms(np.eye(4), np.eye(4), mm=0, degrees=0, disagreement_mm=0)


@pytest.fixture
def infer(tmp_path, toy_bundle, run_command, monkeypatch):
    monkeypatch.setattr(interval_module, "find_halfway", lambda *_: STILL)
    for session, lesions in ((1, 1), (2, 2)):
        name = f"sub-1_ses-{session}_FLAIR.nii.gz"
        write_head(tmp_path / "scans" / name, lesions=lesions, seed=session)
    write_head(tmp_path / "scans" / "sub-2_ses-1_FLAIR.nii.gz", seed=3)

    def run(*options):
        known = ("--bundle", toy_bundle, "--backend", "onnxruntime")
        return run_command(main, tmp_path / "scans", tmp_path / "out", *options, *known)

    return run


def test_the_visits_of_each_subject_are_compared(tmp_path, infer):
    status, said, errors = infer("--longitudinal", "sessions")
    assert status == 0, errors
    assert "comparing the visits of 1 subject" in said
    assert "sub-1: ses-1 to ses-2: +0.64 mL" in said  # a second cube of 8 voxels of 80 mm³
    # The probability of this network is not near 0 outside of lesions, so none counts as new.
    assert "lesions: 2 stable" in said
    out = tmp_path / "out"
    record = json.loads((out / "sub-1_change.json").read_text(encoding="utf-8"))
    assert [visit["volume_ml"] for visit in record["visits"]] == [0.64, 1.28]
    assert "Change over time" in (out / "report.html").read_text(encoding="utf-8")
    assert list(out.glob("*_probseg.nii.gz"))  # boundaries between voxels come from these


def test_a_table_says_which_scans_are_visits(tmp_path, infer):
    (tmp_path / "visits.csv").write_text(
        "subject,visit,scan\nP1,first,scans/sub-1_ses-1_FLAIR.nii.gz\n"
        "P1,second,scans/sub-2_ses-1_FLAIR.nii.gz\n"
    )
    status, _, errors = infer("--longitudinal", tmp_path / "visits.csv")
    assert (status, "1 subject not compared over time" in errors) == (1, True)
    with (tmp_path / "out" / "failures.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["scan"] == "P1, change"


def test_a_table_that_is_wrong_is_refused_before_anything_is_segmented(tmp_path, infer):
    status, _, errors = infer("--longitudinal", tmp_path / "missing.csv")
    assert (status, "missing.csv: cannot be read" in errors) == (2, True)
    assert not (tmp_path / "out").exists()


def test_a_page_of_each_scan_is_written_on_request_for_kept_results_too(tmp_path, infer):
    infer()
    assert not list((tmp_path / "out").glob("*_viewer.html"))
    _, said, _ = infer("--viewer")
    assert "3 scans finished, 3 of them by earlier runs" in said
    assert len(list((tmp_path / "out").glob("*_viewer.html"))) == 3
