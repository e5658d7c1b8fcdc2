from pathlib import Path

import pytest

from wmh_runtime.dataset import bids


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_entities_are_read_back_from_a_scan_name(suffix):
    name = bids.scan_name("sub-1_ses-2", "t1").replace(".nii.gz", suffix)
    assert name == f"sub-1_ses-2_T1w{suffix}"
    assert bids.entities_of_channel(Path("anat") / name, "t1") == "sub-1_ses-2"
    assert bids.entities_of_channel(Path(name), "flair") is None


def test_the_json_file_of_a_scan_is_not_a_scan():
    assert bids.entities_of_channel(Path("sub-1_FLAIR.json"), "flair") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-1_label-WMH_mask.nii.gz", True),
        ("sub-1_label-WMH_desc-second_mask.nii", True),
        ("sub-1_label-STROKE_mask.nii.gz", False),
        ("sub-1_label-WMH_probseg.nii.gz", False),
        ("sub-1_label-WMH_mask.json", False),
        ("sub-1_mask.nii.gz", False),
    ],
)
def test_a_mask_is_recognized_by_its_label_and_suffix(name, expected):
    assert bids.is_mask_of(Path(name), "wmh") is expected


def test_mask_names_are_recognized():
    assert bids.is_mask_of(Path(bids.mask_name("a_b", "wmh")), "wmh")
    assert bids.split_entities("sub-1_ses-2") == {"ses-2", "sub-1"}


@pytest.mark.parametrize(
    ("content", "name"),
    [('{"Name": "Cohort A"}', "Cohort A"), ("{}", None), ("[]", None), ("{", None), (None, None)],
)
def test_the_name_of_a_data_set_is_that_of_its_description(tmp_path, content, name):
    if content is not None:
        (tmp_path / "dataset_description.json").write_text(content)
    assert bids.read_dataset_name(tmp_path) == name
