from pathlib import Path

import pytest

from wmh_runtime.errors import InputError, RecipeError
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.masks_by_name import find_masks_of, with_masks


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("sub-1", "sub-1_label-WMH_mask.nii.gz"),
        ("sub-1_ses-2", "sub-1/ses-2/sub-1_ses-2_FLAIR_lesions.nii"),
        ("sub-1", "ples_lpa_msub-1_FLAIR.nii"),  # LST's name, with SPM's prefix m
        ("17", "lst/17.nii.gz"),
        ("Amsterdam/GE3T/100", "Amsterdam/GE3T/100/wmh.nii.gz"),
        ("Amsterdam/GE3T/100", "Amsterdam/GE3T/100/pre/FLAIR_label-WMH_mask.nii.gz"),
    ],
)
def test_a_mask_belongs_to_the_scan_whose_name_is_in_its_path(tmp_path, name, file):
    touch(tmp_path, file, "other.nii.gz", ".hidden_sub-1.nii.gz", "sub-1.txt")
    assert find_masks_of([name], tmp_path) == {name: tmp_path / file}


@pytest.mark.parametrize("file", ["sub-10.nii.gz", "xsub-1.nii.gz", "sub-1a.nii.gz"])
def test_a_name_must_stand_apart(tmp_path, file):
    touch(tmp_path, file)
    assert find_masks_of(["sub-1"], tmp_path) == {}


def test_the_longest_name_counts(tmp_path):
    touch(tmp_path, "sub-1.nii.gz", "sub-1_run-2.nii.gz")
    assert find_masks_of(["sub-1", "sub-1_run-2"], tmp_path) == {
        "sub-1": tmp_path / "sub-1.nii.gz",
        "sub-1_run-2": tmp_path / "sub-1_run-2.nii.gz",
    }


def test_of_several_masks_the_one_with_the_label_is_taken(tmp_path):
    touch(tmp_path, "sub-1_prob.nii.gz", "sub-1_label-WMH_mask.nii.gz")
    assert find_masks_of(["sub-1"], tmp_path)["sub-1"].name == "sub-1_label-WMH_mask.nii.gz"
    touch(tmp_path, "b/sub-1_label-WMH_mask.nii.gz")
    with pytest.raises(InputError, match="several masks of sub-1"):
        find_masks_of(["sub-1"], tmp_path)


def test_the_name_of_the_file_counts_before_those_of_its_folders(tmp_path):
    touch(tmp_path, "run-1/2.nii.gz", "site-1/1.nii.gz", "3/wmh.nii.gz")
    found = find_masks_of(["1", "2", "3"], tmp_path)
    assert {name: path.relative_to(tmp_path).as_posix() for name, path in found.items()} == {
        "1": "site-1/1.nii.gz",
        "2": "run-1/2.nii.gz",
        "3": "3/wmh.nii.gz",
    }


def test_another_visit_is_not_of_the_scan(tmp_path):
    touch(tmp_path, "sub-1_ses-2.nii.gz", "sub-1/ses-2/wmh.nii.gz")
    assert find_masks_of(["sub-1", "sub-1_ses-1"], tmp_path) == {}


def test_a_file_that_may_be_of_two_scans_is_refused(tmp_path):
    touch(tmp_path, "compare_11_with_12.nii.gz")
    with pytest.raises(InputError, match="may be the mask of 11 or of 12"):
        find_masks_of(["11", "12"], tmp_path)


def test_scans_beside_the_masks_are_no_masks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "sub-1_FLAIR.nii.gz", "sub-2_FLAIR.nii.gz", "masks/sub-1.nii.gz")
    (found,) = with_masks([scan("sub-1"), scan("sub-2")], [tmp_path])
    assert found.name == "sub-1"
    assert found.references == (tmp_path / "masks" / "sub-1.nii.gz",)


def test_two_folders_of_one_name_are_refused(tmp_path):
    touch(tmp_path, "x/lst/sub-1.nii.gz", "y/lst/sub-1.nii.gz")
    with pytest.raises(InputError, match="same name as another folder of masks: lst"):
        with_masks([scan("sub-1")], [tmp_path / "x" / "lst", tmp_path / "y" / "lst"])


def scan(name):
    return AnnotatedScan(name, name.split("_")[0], "", (Path(f"{name}_FLAIR.nii.gz"),), ())


def test_scans_come_once_for_each_folder_with_a_mask(tmp_path):
    touch(tmp_path, "a/sub-1.nii.gz", "a/sub-2.nii.gz", "b/sub-1.nii.gz")
    scans = [scan("sub-1"), scan("sub-2"), scan("sub-3")]
    found = with_masks(scans, [tmp_path / "a", tmp_path / "b"])
    assert [one.name for one in found] == ["sub-1 a", "sub-1 b", "sub-2 a"]
    assert [one.subject for one in found] == ["sub-1", "sub-1", "sub-2"]
    assert found[1].references == (tmp_path / "b" / "sub-1.nii.gz",)
    (alone,) = with_masks(scans, [tmp_path / "b"])
    assert alone.name == "sub-1"


def test_a_folder_without_any_mask_of_the_scans_is_an_error(tmp_path):
    touch(tmp_path, "sub-9.nii.gz")
    with pytest.raises(RecipeError, match="no mask with the name of a scan, such as sub-1"):
        with_masks([scan("sub-1")], [tmp_path])
    with pytest.raises(InputError, match="is not a folder"):
        with_masks([scan("sub-1")], [tmp_path / "none"])
