import json

import pytest

from wmh_runtime.dataset.bids_dataset import read_bids_dataset
from wmh_runtime.dataset.channels import ChannelRules
from wmh_runtime.dataset.discovery import discover, find_cases
from wmh_runtime.dataset.visit_filter import VisitFilter
from wmh_runtime.errors import InputError

SCANS = (
    "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz",
    "sub-01/ses-2/anat/sub-01_ses-2_acq-3D_run-1_FLAIR.nii.gz",
    "sub-01/ses-2/anat/sub-01_ses-2_acq-3D_run-2_FLAIR.NII.GZ",
    "sub-02/anat/sub-02_FLAIR.nii",
)


@pytest.fixture
def dataset(tmp_path):
    """A data set with four scans, and files that are none."""
    root = tmp_path / "data set"
    for name in (
        *SCANS,
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sourcedata/sub-01/sub-01_FLAIR.nii.gz",
        "code/sub-01_FLAIR.nii.gz",
        "derivatives/other/sub-01/anat/sub-01_desc-preproc_FLAIR.nii.gz",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    describe(root)
    return root


def describe(root):
    text = json.dumps({"Name": "toys", "BIDSVersion": "1.10.0"})
    (root / "dataset_description.json").write_text(text, encoding="utf-8")


def names(found):
    return [case.relative.as_posix() for case in found.scans]


def test_all_sessions_runs_and_acquisitions_are_scans(dataset):
    found = discover(dataset)
    assert names(found) == [*SCANS]
    assert found.dataset.name == "toys"
    reasons = {one.path.as_posix(): one.reason for one in found.skipped}
    assert "source data" in reasons["sourcedata"]
    assert reasons["code"] == "a folder for programs, in a BIDS data set"


def test_without_a_description_a_folder_is_no_data_set(dataset):
    (dataset / "dataset_description.json").unlink()
    found = discover(dataset)
    assert found.dataset is None
    assert "sourcedata/sub-01/sub-01_FLAIR.nii.gz" in names(found)
    assert found.scans[0].sources_of(["flair"]) == [found.scans[0].path.name]


def test_sources_are_uris_of_the_data_set(dataset):
    case = discover(dataset).scans[0]
    assert case.sources_of(["flair", "t1"]) == [f"bids:raw:{SCANS[0]}"]


def test_what_bidsignore_lists_is_skipped(dataset):
    (dataset / ".bidsignore").write_text("# no scans\n*_run-1_FLAIR*\nsub-02/\n", encoding="utf-8")
    found = discover(dataset)
    assert names(found) == [SCANS[0], SCANS[2]]
    reasons = {one.path.as_posix(): one.reason for one in found.skipped}
    assert reasons[SCANS[1]] == reasons["sub-02"] == "listed in .bidsignore"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "list indices"),
        ('{"BIDSVersion": "1.10.0"}', "it has no Name"),
        ('{"Name": null}', "it has no Name"),
        ('{"Name": " "}', "it has no Name"),
    ],
)
def test_a_damaged_description_is_a_warning_and_the_folder_gives_the_name(dataset, text, reason):
    (dataset / "dataset_description.json").write_text(text, encoding="utf-8")
    found = read_bids_dataset(dataset)
    assert found.name == dataset.name
    assert f"does not say the name of the data set ({reason}" in found.warning
    assert found.warning.endswith(f": {dataset.name} is used")


def test_a_pattern_of_bidsignore_that_means_nothing_is_refused(dataset):
    (dataset / ".bidsignore").write_text("!\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"bidsignore: cannot be read \(Invalid git pattern: '!'"):
        read_bids_dataset(dataset)


def test_the_first_line_of_bidsignore_counts_after_a_byte_order_mark(dataset):
    (dataset / ".bidsignore").write_text("sub-02/\n", encoding="utf-8-sig")
    assert names(discover(dataset)) == [*SCANS[:3]]


def test_a_pattern_for_folders_ignores_no_file(dataset):
    (dataset / ".bidsignore").write_text("*_FLAIR.nii.gz/\n", encoding="utf-8")
    assert names(discover(dataset)) == [*SCANS]


def test_links_to_files_are_scans(dataset, tmp_path):
    scan = dataset / SCANS[0]
    content = tmp_path / "annex" / "MD5E-s0--d41d8.nii.gz"
    content.parent.mkdir()
    scan.rename(content)
    scan.symlink_to(content)
    assert names(discover(dataset)) == [*SCANS]


def taken(dataset, participants=(), sessions=()):
    return names(find_cases(dataset, None, ChannelRules(), VisitFilter(participants, sessions)))


def test_participants_and_sessions_are_taken_by_their_labels(dataset):
    assert taken(dataset, ["02"]) == taken(dataset, ["sub-02"]) == [SCANS[3]]
    assert taken(dataset, ["02", "01"]) == [*SCANS]
    assert taken(dataset, (), ["2"]) == taken(dataset, ["01"], ["ses-2"]) == [*SCANS[1:3]]


def test_a_label_without_scans_is_named_with_those_that_are_there(dataset):
    message = "data set: has no scan of sub-1, sub-x. The names say: sub-01, sub-02."
    with pytest.raises(InputError, match=message):
        taken(dataset, ["1", "02", "x"])
    with pytest.raises(InputError, match=r"has no scan of ses-1\. The names say: none"):
        taken(dataset, ["02"], ["1"])
