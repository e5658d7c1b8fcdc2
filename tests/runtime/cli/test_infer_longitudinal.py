"""`wmh-infer --longitudinal` and `--viewer` as users call them. Nothing is registered here."""

import csv
import json

import numpy as np
import pytest

from tests.toys import write_head, write_toy_bundle
from wmh_runtime.change.pair import interval as interval_module
from wmh_runtime.change.pair.halfway import HalfwayTransforms
from wmh_runtime.cli.infer.main import main

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
        return run_command(main, tmp_path / "scans", tmp_path / "out", *known, *options)

    return run


def test_the_visits_of_each_subject_are_compared(tmp_path, infer):
    status, said, errors = infer("--longitudinal", "sessions")
    assert status == 0, errors
    assert "comparing the visits of 1 subject" in said
    assert "sub-1: ses-1 to ses-2: +0.64 mL" in said  # a second cube of 8 voxels of 80 mm³
    # The probability of this network is not near 0 outside of lesions, so none counts as new.
    assert "lesions: 2 stable" in said
    out = tmp_path / "out"
    record = json.loads((out / "longitudinal" / "sub-1_change.json").read_text(encoding="utf-8"))
    assert [visit["volume_ml"] for visit in record["visits"]] == [0.64, 1.28]
    assert "Change over time" in (out / "report.html").read_text(encoding="utf-8")
    assert list(out.glob("*_probseg.nii.gz"))  # boundaries between voxels come from these


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def table(tmp_path):
    """A table outside of the folder of the scans; its paths are relative to itself."""
    path = tmp_path / "lists" / "visits.csv"
    path.parent.mkdir()
    path.write_text(
        "subject,visit,scan\nP1,first,../scans/sub-1_ses-1_FLAIR.nii.gz\n"
        "P1,second,../scans/sub-2_ses-1_FLAIR.nii.gz\n"
    )
    return path


def test_a_table_says_which_scans_are_visits_wherever_it_lies(tmp_path, infer, table):
    status, said, errors = infer("--longitudinal", table)
    assert status == 0, errors
    assert "P1: first to second: +0.00 mL" in said
    (row,) = rows_of(tmp_path / "out" / "changes.csv")
    assert (row["subject"], row["earlier"], row["later"]) == ("P1", "first", "second")
    assert (row["earlier_scan"], row["later_scan"]) == (
        *("sub-1_ses-1_FLAIR.nii.gz", "sub-2_ses-1_FLAIR.nii.gz"),
    )
    assert (row["before_ml"], row["after_ml"], row["change_ml"]) == ("0.6400", "0.6400", "0.0000")
    # The label map has the name of its scan, so that a BIDS data set stays one.
    assert (tmp_path / "out" / "sub-2_ses-1_space-orig_seg-change_dseg.nii.gz").is_file()


def test_a_scan_of_the_table_that_is_not_segmented_is_refused_at_once(tmp_path, infer, table):
    write_head(tmp_path / "elsewhere" / "third.nii.gz")
    with table.open("a") as file:
        file.write("P1,third,../elsewhere/third.nii.gz\n")
    status, _, errors = infer("--longitudinal", table, "--dry-run")
    assert (status, "names 1 scan that are not segmented" in errors) == (2, True)


def test_a_folder_without_two_visits_is_said(tmp_path, infer):
    (tmp_path / "scans" / "sub-1_ses-2_FLAIR.nii.gz").unlink()
    status, _, errors = infer("--longitudinal", "sessions")
    assert (status, "nothing to compare over time" in errors) == (0, True)


def test_a_subject_that_cannot_be_compared_is_a_failed_comparison_and_no_failed_scan(
    tmp_path, infer
):
    sessions = tmp_path / "scans" / "sub-1_sessions.tsv"
    sessions.write_bytes("session_id\tacq_time\nses-1\tM\xe4rz\n".encode("latin-1"))
    status, said, errors = infer("--longitudinal", "sessions")
    assert (status, "1 subject not compared over time" in errors) == (1, True)
    assert "3 scans finished" in said
    (row,) = rows_of(tmp_path / "out" / "failures.csv")
    assert (row["scan"], row["step"]) == ("sub-1", "comparison")
    assert "sub-1_sessions.tsv: cannot be read" in row["reason"]
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "not compared:" in report
    assert "without a result" not in report


def test_a_change_is_shown_only_while_its_masks_are_used(tmp_path, infer):
    out = tmp_path / "out"
    infer("--longitudinal", "sessions")
    assert 'id="changes"' in (out / "report.html").read_text(encoding="utf-8")
    (out / "reviews.tsv").write_text(
        "scan\toutput\tdecision\nsub-1_ses-2_FLAIR.nii.gz\twmh\texclude\n"
    )
    _, _, errors = infer()
    assert "the change of 1 subject over time, such as sub-1, is of results that are" in errors
    assert not (out / "changes.csv").exists()
    assert 'id="changes"' not in (out / "report.html").read_text(encoding="utf-8")
    _, _, errors = infer("--longitudinal", "sessions")
    assert "ses-2_FLAIR.nii.gz: not compared over time: excluded by a reader" in errors
    assert "is of results that are" not in errors
    left = [path.name for path in out.rglob("*change*")]
    assert left == []  # nobody takes them as current


def test_a_new_scan_is_not_compared_with_the_mask_of_the_old_one(tmp_path, infer):
    infer("--longitudinal", "sessions")
    write_head(tmp_path / "scans" / "sub-1_ses-2_FLAIR.nii.gz", lesions=1, seed=9)
    status, _, errors = infer("--longitudinal", "sessions")
    assert (status, "has a result of another input" in errors) == (1, True)
    assert "ses-2_FLAIR.nii.gz: not compared over time: failed" in errors
    assert "nothing to compare over time" in errors
    assert not (tmp_path / "out" / "changes.csv").exists()


def test_a_subject_with_another_name_replaces_the_one_before(tmp_path, infer, table):
    infer("--longitudinal", table)
    table.write_text(table.read_text().replace("P1", "P01"))
    infer("--longitudinal", table)
    assert [row["subject"] for row in rows_of(tmp_path / "out" / "changes.csv")] == ["P01"]
    assert not list((tmp_path / "out").rglob("P1_*"))


def test_only_subjects_of_this_run_are_compared_and_others_are_kept(tmp_path, infer):
    for session in (2, 3):
        write_head(tmp_path / "scans" / f"sub-2_ses-{session}_FLAIR.nii.gz", seed=session)
    _, said, _ = infer("--longitudinal", "sessions", "--participant-label", "1")
    assert "comparing the visits of 1 subject" in said
    _, said, _ = infer("--longitudinal", "sessions", "--participant-label", "2")
    assert "comparing the visits of 1 subject" in said
    rows = rows_of(tmp_path / "out" / "changes.csv")
    assert [(row["subject"], row["later"]) for row in rows] == [
        *(("sub-1", "ses-2"), ("sub-2", "ses-2"), ("sub-2", "ses-3"))
    ]


def test_masks_of_other_settings_are_not_compared(tmp_path, infer):
    infer("--session-label", "1")
    status, _, errors = infer(
        *("--session-label", "2", "--threshold", "0.9", "--longitudinal", "sessions")
    )
    assert status == 1
    assert "with different settings: threshold (0.75 and 0.9)" in " ".join(errors.split())


def test_a_visit_without_a_probability_map_is_a_warning(tmp_path, infer):
    infer("--session-label", "1")
    _, _, errors = infer("--session-label", "2", "--longitudinal", "sessions")
    assert "ses-1 has no probability map" in errors
    (row,) = rows_of(tmp_path / "out" / "changes.csv")
    assert "ses-1 has no probability map" in row["warnings"]


def test_two_visits_of_one_file_are_a_warning(tmp_path, infer):
    first, second = (tmp_path / "scans" / f"sub-1_ses-{n}_FLAIR.nii.gz" for n in (1, 2))
    second.write_bytes(first.read_bytes())
    _, _, errors = infer("--longitudinal", "sessions")
    assert "ses-1 and ses-2 are the same file" in errors


def test_a_mask_of_the_network_and_a_corrected_one_are_a_warning(tmp_path, infer):
    infer()
    manual = tmp_path / "scans" / "derivatives" / "manual"
    manual.mkdir(parents=True)
    name = "sub-1_ses-2_label-WMH_mask.nii.gz"
    (manual / name).write_bytes((tmp_path / "out" / name).read_bytes())
    _, _, errors = infer("--longitudinal", "sessions")
    assert "only the mask of ses-2 was corrected by hand" in errors


def test_stopped_on_request_it_keeps_what_is_known(tmp_path, infer, monkeypatch):
    from wmh_runtime.cohort import longitudinal

    for session in (2, 3):
        write_head(tmp_path / "scans" / f"sub-2_ses-{session}_FLAIR.nii.gz", seed=session)
    (tmp_path / "scans" / "sub-1_sessions.tsv").write_bytes(b"session_id\tacq\xe4\n")
    compare = longitudinal.change_of_folder

    def stop_after_the_first(*arguments, **options):
        seen = []
        report = options["on_subject"]
        options["on_subject"] = lambda *one: (seen.append(one), report(*one))
        return compare(*arguments, **{**options, "should_stop": lambda: bool(seen)})

    monkeypatch.setattr(longitudinal, "change_of_folder", stop_after_the_first)
    status, _, errors = infer("--longitudinal", "sessions")
    assert (status, "stopped with 1 subject not compared yet" in errors) == (130, True)
    (row,) = rows_of(tmp_path / "out" / "failures.csv")
    assert (row["scan"], row["step"]) == ("sub-1", "comparison")
    assert "not compared:" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_word_that_is_mistyped_is_refused(infer):
    status, _, errors = infer("--longitudinal", "session")
    assert (status, "longitudinal: is session, expected sessions or a table" in errors) == (2, True)


def test_a_table_that_is_wrong_is_refused_before_anything_is_segmented(tmp_path, infer):
    status, _, errors = infer("--longitudinal", tmp_path / "missing.csv")
    assert (status, "missing.csv: cannot be read" in errors) == (2, True)
    assert not (tmp_path / "out").exists()


def test_a_page_of_each_scan_is_written_on_request_for_kept_results_too(tmp_path, infer):
    infer()
    assert not list((tmp_path / "out").glob("*_viewer.html"))
    _, said, _ = infer("--viewer")
    assert "3 scans finished, 3 of them by earlier or other runs" in said
    assert len(list((tmp_path / "out").glob("*_viewer.html"))) == 3


def test_a_run_that_was_stopped_or_left_scans_out_compares_nothing(tmp_path, infer):
    (tmp_path / "scans" / "sub-0_FLAIR.nii.gz").write_bytes(b"no image")
    status, _, errors = infer("--longitudinal", "sessions", "--fail-fast", "--threads", "1")
    assert (status, "the visits were not compared, because the run was stopped" in errors) == (
        *(2, True),
    )
    assert not (tmp_path / "out" / "longitudinal").exists()


def test_changes_of_another_output_are_kept(tmp_path, infer):
    infer("--longitudinal", "sessions")
    record = tmp_path / "out" / "longitudinal" / "sub-1_change.json"
    write_toy_bundle(tmp_path / "other", outputs=("other",))
    other = ("--bundle", tmp_path / "other", "--participant-label", "2")
    status, _, errors = infer("--longitudinal", "sessions", *other)
    assert status == 0, errors
    assert record.is_file()
