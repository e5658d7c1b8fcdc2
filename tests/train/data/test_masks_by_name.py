from pathlib import Path

import pytest

from wmh_runtime.errors import InputError
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.masks_by_name import find_masks_of, with_masks


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def masks_of(names, folder):
    """The file of each scan, from its folder; an empty dictionary if there is none."""
    try:
        found = find_masks_of(names, folder)
    except InputError as error:
        if "contains no mask with the name of a scan" in str(error):
            return {}
        raise
    return {name: path.relative_to(folder).as_posix() for name, path in found.of_scan.items()}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("sub-1", "sub-1_label-WMH_mask.nii.gz"),
        ("sub-1", "sub-1_label-lesion_mask.nii.gz"),
        ("sub-1_ses-2", "sub-1/ses-2/sub-1_ses-2_FLAIR_lesions.nii"),
        ("sub-1_ses-01", "sub-1/ses-1/sub-1_ses-01_mask.nii.gz"),
        ("sub-1_visit1", "visit-1/sub-1_visit1_mask.nii.gz"),
        ("P01_v1", "ses-1/P01_v1_mask.nii.gz"),
        ("P01", "ses-1/P01_mask.nii.gz"),  # there is one visit only
        ("sub-1", "ples_lpa_msub-1_FLAIR.nii"),  # LST's name, with SPM's prefix m
        ("mary1", "wmary1.nii.gz"),
        ("17", "lst/17.nii.gz"),
        ("17", "17_lesions_T1.nii.gz"),
        ("17", "ples_lpa_m17.nii"),
        ("17", "mask_17.nii.gz"),
        ("01", "sub-01_mask.nii.gz"),
        ("003", "subject_003/wmh.nii.gz"),
        ("Amsterdam/GE3T/100", "Amsterdam/GE3T/100/wmh.nii.gz"),
        ("Amsterdam/GE3T/100", "Amsterdam/GE3T/100/pre/FLAIR_label-WMH_mask.nii.gz"),
    ],
)
def test_a_mask_belongs_to_the_scan_whose_name_is_in_its_path(tmp_path, name, file):
    touch(tmp_path, file, "other.nii.gz", f".hidden_{name}.nii.gz", f"{name}.txt")
    assert masks_of([name], tmp_path) == {name: file}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("sub-1", "sub-10.nii.gz"),
        ("sub-1", "xsub-1.nii.gz"),
        ("sub-1", "sub-1a.nii.gz"),
        ("sub-1", "sub-1/sub-2_mask.nii.gz"),
        ("01", "20_visit-01_mask.nii.gz"),
        ("01", "patient_7_rater_01.nii.gz"),
        ("21", "21-01.nii.gz"),
        ("1", "1.5T_17.nii.gz"),
        ("1", "1/21_mask.nii.gz"),
    ],
)
def test_a_name_must_stand_apart_and_a_number_be_alone(tmp_path, name, file):
    touch(tmp_path, file)
    assert masks_of([name], tmp_path) == {}


def test_the_longest_name_counts(tmp_path):
    touch(tmp_path, "sub-1.nii.gz", "sub-1_run-2.nii.gz")
    assert masks_of(["sub-1", "sub-1_run-2"], tmp_path) == {
        "sub-1": "sub-1.nii.gz",
        "sub-1_run-2": "sub-1_run-2.nii.gz",
    }


def test_of_several_masks_the_one_with_the_label_is_taken(tmp_path):
    touch(tmp_path, "sub-1_prob.nii.gz", "sub-1_label-WMH_mask.nii.gz")
    assert masks_of(["sub-1"], tmp_path) == {"sub-1": "sub-1_label-WMH_mask.nii.gz"}
    touch(tmp_path, "b/sub-1_label-WMH_mask.nii.gz")
    with pytest.raises(InputError, match="several masks of sub-1"):
        find_masks_of(["sub-1"], tmp_path)


def test_the_name_of_the_file_counts_before_those_of_its_folders(tmp_path):
    touch(tmp_path, "run-1/2.nii.gz", "site-1/1.nii.gz", "3/wmh.nii.gz")
    assert masks_of(["1", "2", "3"], tmp_path) == {
        "1": "site-1/1.nii.gz",
        "2": "run-1/2.nii.gz",
        "3": "3/wmh.nii.gz",
    }


@pytest.mark.parametrize(
    "file",
    [
        "sub-1_ses-2.nii.gz",
        "sub-1/ses-2/wmh.nii.gz",
        "ses-2/sub-1_mask.nii.gz",
        "sub-1_visit-2_mask.nii.gz",
        "sub-1_Session2_mask.nii.gz",
        "sub-1_ses2_mask.nii.gz",
        "sub-1_rec-x_ses-2_mask.nii.gz",
        "sub-1_run-2_mask.nii.gz",
    ],
)
def test_another_visit_or_run_is_not_of_the_scan(tmp_path, file):
    touch(tmp_path, file, "sub-1_ses-1.nii.gz")
    found = find_masks_of(["sub-1", "sub-1_ses-1"], tmp_path)
    assert set(found.of_scan) == {"sub-1_ses-1"}
    (note,) = found.notes
    assert f"1 image of another visit, run or acquisition, such as {file}" in note


def test_of_several_visits_none_is_of_a_scan_that_names_no_visit(tmp_path):
    touch(tmp_path, "ses-1/P01.nii.gz", "ses-2/P02.nii.gz")
    with pytest.raises(InputError, match="2 images of another visit, run or acquisition, such as"):
        find_masks_of(["P01", "P02"], tmp_path)


def test_a_file_that_may_be_of_two_scans_is_refused(tmp_path):
    touch(tmp_path, "compare_p11_with_p12.nii.gz")
    with pytest.raises(InputError, match="may be the mask of p11 or of p12"):
        find_masks_of(["p11", "p12"], tmp_path)


def test_scans_beside_the_masks_are_no_masks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "masks/sub-1.nii.gz")
    here = Path()  # the same folder, written in another way
    (found,) = with_masks([scan("sub-1", here), scan("sub-2", here)], [tmp_path]).scans
    assert found.name == "sub-1"
    assert found.references == (tmp_path / "masks" / "sub-1.nii.gz",)


def test_two_folders_of_one_name_are_refused(tmp_path):
    touch(tmp_path, "x/lst/sub-1.nii.gz", "y/lst/sub-1.nii.gz")
    with pytest.raises(InputError, match="same name as another folder of masks: lst"):
        with_masks([scan("sub-1")], [tmp_path / "x" / "lst", tmp_path / "y" / "lst"])


def test_links_to_folders_of_one_name_are_told_apart_by_their_own_names(tmp_path):
    touch(tmp_path, "x/A/sub-1.nii.gz", "y/A/sub-1.nii.gz")
    links = [tmp_path / "outliers", tmp_path / "mixture"]
    for link, target in zip(links, "xy", strict=True):
        link.symlink_to(tmp_path / target / "A")
    found = with_masks([scan("sub-1", tmp_path)], links).scans
    assert [one.name for one in found] == ["sub-1 mixture", "sub-1 outliers"]


def scan(name, folder=None):
    """A scan, and its image if a folder is given."""
    image = (folder or Path("nowhere")) / f"{name}_FLAIR.nii.gz"
    if folder is not None:
        image.touch()
    return AnnotatedScan(name, name.split("_")[0], "", (image,), ())


def test_scans_come_once_for_each_folder_with_a_mask(tmp_path):
    touch(tmp_path, "a/sub-1.nii.gz", "a/sub-2.nii.gz", "b/sub-1.nii.gz")
    scans = [scan(name, tmp_path) for name in ("sub-1", "sub-2", "sub-3")]
    found = with_masks(scans, [tmp_path / "a", tmp_path / "b"]).scans
    assert [one.name for one in found] == ["sub-1 a", "sub-1 b", "sub-2 a"]
    assert [one.subject for one in found] == ["sub-1", "sub-1", "sub-2"]
    assert found[1].references == (tmp_path / "b" / "sub-1.nii.gz",)
    (alone,) = with_masks(scans, [tmp_path / "b"]).scans
    assert alone.name == "sub-1"


def test_a_folder_without_any_mask_of_the_scans_is_an_error(tmp_path):
    touch(tmp_path, "sub-9.nii.gz")
    with pytest.raises(InputError, match="no mask with the name of a scan, such as sub-1"):
        with_masks([scan("sub-1")], [tmp_path])
    with pytest.raises(InputError, match="is not a folder"):
        with_masks([scan("sub-1")], [tmp_path / "none"])
