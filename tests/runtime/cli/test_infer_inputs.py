"""Which scans `wmh-infer` takes: data sets, labels, lists; and what it only lists."""

import json

import pytest

from tests.toys import write_head
from wmh_runtime.cli.infer.main import main
from wmh_runtime.cli.options import separate_labels

SCANS = ("sub-01_ses-1_FLAIR.nii.gz", "sub-01_ses-2_FLAIR.nii.gz", "sub-02_ses-1_FLAIR.nii.gz")


@pytest.fixture
def infer(tmp_path, toy_bundle, run_command):
    for name in (*SCANS, "sub-01_ses-1_T1w.nii.gz"):
        write_head(tmp_path / "scans" / name)

    def run(*options, source=tmp_path / "scans"):
        known = ("--bundle", toy_bundle, "--backend", "onnxruntime")
        return run_command(main, source, tmp_path / "out", *options, *known)

    return run


def masks(tmp_path):
    found = (tmp_path / "out").glob("*_mask.nii.gz")
    return sorted(path.name.removesuffix("_label-WMH_mask.nii.gz") for path in found)


def test_a_dry_run_lists_scans_and_skipped_files_and_writes_nothing(tmp_path, infer):
    status, said, errors = infer("--dry-run")
    mask = tmp_path / "out" / "sub-01_ses-1_label-WMH_mask.nii.gz"
    assert (status, errors) == (0, "")
    lines = said.splitlines()
    assert lines[0] == f"sub-01_ses-1_FLAIR.nii.gz -> {mask}"
    assert lines[3] == "skipped sub-01_ses-1_T1w.nii.gz: T1, by its name or folder"
    assert lines[4:] == ["3 scans to segment", "1 file (1 T1 image) to skip", "nothing was written"]
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_has_results(tmp_path, infer):
    infer("--participant-label", "02")
    _, said, _ = infer("--dry-run")
    assert [line.endswith("(has a result)") for line in said.splitlines()[:3]] == [0, 0, 1]
    assert "1 of them with results, which are kept if input and settings are the same" in said
    _, said, _ = infer("--dry-run", "--overwrite")
    assert "1 of them with results, which are made again" in said


def test_a_bids_app_takes_several_labels_after_one_option(tmp_path, infer):
    assert infer("participant", "--participant-label", "01", "02", "--session_label", "1")[0] == 0
    assert masks(tmp_path) == ["sub-01_ses-1", "sub-02_ses-1"]


def test_a_label_without_scans_is_refused(infer):
    status, _, errors = infer("--participant-label", "3")
    assert (status, "has no scan of sub-3. The names say: sub-01, sub-02." in errors) == (2, True)


def test_scans_with_one_name_for_their_masks_are_seen_before_the_run(tmp_path, infer):
    write_head(tmp_path / "scans" / "a_FLAIR.nii")
    write_head(tmp_path / "scans" / "a_FLAIR.nii.gz")
    _, _, errors = infer("--dry-run")
    assert "a_label-WMH_mask.nii.gz: of several scans, which will fail" in " ".join(errors.split())


def test_several_labels_without_the_level_are_explained(infer):
    status, _, errors = infer("--participant-label", "01", "02")
    assert (status, "repeat --participant-label, or write participant" in errors) == (2, True)


def test_only_the_level_of_participants_is_known(infer):
    status, _, errors = infer("group")
    assert (status, "got group after the two folders, expected participant" in errors) == (2, True)


def test_the_scans_of_a_list_are_segmented(tmp_path, infer):
    (tmp_path / "list.txt").write_text(f"scans/{SCANS[1]}\n", encoding="utf-8")
    assert infer(source=tmp_path / "list.txt")[0] == 0
    found = tmp_path / "out" / "scans" / "sub-01_ses-2_label-WMH_mask.json"
    assert json.loads(found.read_text(encoding="utf-8"))["Sources"] == [SCANS[1]]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            "in out participant --participant_label 01 02 --tta none",
            "in out participant --participant-label 01 --participant-label 02 --tta none",
        ),
        (
            "in out participant --session-label 1 2 --participant-label a",
            "in out participant --session-label 1 --session-label 2 --participant-label a",
        ),
        ("--participant-label 01 in out", "--participant-label 01 in out"),
        ("in out --participant_label 01", "in out --participant-label 01"),
    ],
)
def test_labels_are_separated_for_bids_apps_only(given, expected):
    assert separate_labels(given.split()) == expected.split()
