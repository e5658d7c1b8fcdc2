from pathlib import Path

import pytest

from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.errors import InputError


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def found_in(folder, out="elsewhere"):
    discovery = discover(folder, Path(out))
    return [scan.relative.as_posix() for scan in discovery.scans], discovery.passed_over


def test_where_some_names_say_flair_only_those_are_taken(tmp_path):
    make(tmp_path, "a_FLAIR.nii.gz", "a.nii.gz", "b/3D_flair.nii", "FLAIR/c.nii", "notes.txt")
    scans, passed_over = found_in(tmp_path)
    assert scans == ["FLAIR/c.nii", "a_FLAIR.nii.gz", "b/3D_flair.nii"]
    assert passed_over == {"neither name nor folder says FLAIR": 1}


def test_another_contrast_is_never_taken_for_flair(tmp_path):
    make(tmp_path, "a_T1w.nii.gz", "FLAIR/a_T2.nii", "t1-sag.nii", "st1ll.nii", "T2_FLAIR.nii")
    scans, passed_over = found_in(tmp_path)
    assert scans == ["T2_FLAIR.nii"]
    assert passed_over == {
        "its name says another contrast than FLAIR": 3,
        "neither name nor folder says FLAIR": 1,
    }


def test_masks_of_anybody_are_not_scans(tmp_path):
    make(tmp_path, "a_FLAIR.nii.gz", "lesion_FLAIR_mask.nii.gz", "a_FLAIR_seg.nii")
    assert found_in(tmp_path)[0] == ["a_FLAIR.nii.gz"]


def test_where_no_name_says_flair_every_nifti_is_taken(tmp_path):
    scans, passed_over = found_in(make(tmp_path, "x.nii", "deep/er/y.NII.GZ"))
    assert scans == ["deep/er/y.NII.GZ", "x.nii"]
    assert passed_over == {}


def test_results_references_hidden_and_unfinished_files_are_not_scans(tmp_path):
    make(
        tmp_path,
        "a.nii.gz",
        "a_label-WMH_mask.nii.gz",
        "a_label-WMH_probseg.nii.gz",
        "derivatives/reference/a_FLAIR.nii.gz",
        "._a.nii.gz",
        ".wmh-partial-7-ab.nii.gz",
    )
    scans, passed_over = found_in(tmp_path)
    assert scans == ["a.nii.gz"]
    assert passed_over == {
        "a mask or a probability map": 2,
        "in a derivatives folder": 1,
        "hidden": 1,
    }


def test_the_output_folder_within_the_source_is_left_out(tmp_path):
    make(tmp_path, "a.nii.gz", "results/a.nii.gz")
    scans, passed_over = found_in(tmp_path, tmp_path / "results")
    assert scans == ["a.nii.gz"]
    assert passed_over == {"in the output folder": 1}


def test_the_output_folder_may_hold_the_source(tmp_path):
    make(tmp_path / "scans", "a.nii.gz")
    assert found_in(tmp_path / "scans", tmp_path)[0] == ["a.nii.gz"]


def test_linked_folders_are_searched_once_and_loops_end(tmp_path):
    make(tmp_path / "elsewhere", "b.nii.gz")
    make(tmp_path / "scans", "a.nii.gz")
    (tmp_path / "scans" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "scans")
    assert found_in(tmp_path / "scans")[0] == ["a.nii.gz", "link/b.nii.gz"]


def test_a_folder_that_cannot_be_read_is_said(tmp_path, monkeypatch):
    make(tmp_path, "a.nii.gz")

    def walk(folder, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", str(tmp_path / "sealed")))
        yield str(folder), [], ["a.nii.gz"]

    monkeypatch.setattr("os.walk", walk)
    assert found_in(tmp_path) == (["a.nii.gz"], {})
    (sealed,) = discover(tmp_path, tmp_path / "out").unreadable
    assert sealed == Case(tmp_path / "sealed", Path("sealed"))


def test_source_and_output_may_be_one_folder(tmp_path):
    make(tmp_path, "a.nii.gz", "a_label-WMH_mask.nii.gz")
    assert found_in(tmp_path, tmp_path)[0] == ["a.nii.gz"]


def test_a_derivatives_folder_given_itself_is_searched(tmp_path):
    folder = make(tmp_path / "derivatives" / "fsl", "a_FLAIR.nii.gz")
    assert found_in(folder)[0] == ["a_FLAIR.nii.gz"]


def test_one_file_is_taken_whatever_its_name(tmp_path):
    make(tmp_path, "derivatives/a_label-WMH_mask.nii.gz")
    path = tmp_path / "derivatives" / "a_label-WMH_mask.nii.gz"
    assert found_in(path)[0] == ["a_label-WMH_mask.nii.gz"]


def test_nothing_found_says_what_was_passed_over(tmp_path):
    make(tmp_path, "a_label-WMH_mask.nii.gz")
    with pytest.raises(InputError, match=r"holds no scan.*1 passed over: a mask"):
        found_in(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        found_in(tmp_path / "nowhere")


def test_a_folder_of_dicom_says_so_and_what_to_do(tmp_path):
    make(tmp_path, "a_label-WMH_mask.nii.gz")
    (tmp_path / "scanner").mkdir()
    (tmp_path / "scanner" / "IM-0001").write_bytes(bytes(128) + b"DICM" + bytes(8))
    with pytest.raises(InputError, match=r"but DICOM \(1 passed over.*dcm2niix"):
        found_in(tmp_path)
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "linked").symlink_to(tmp_path / "scanner")
    (tmp_path / "from" / "gone").symlink_to(tmp_path / "nowhere")  # cannot be read
    with pytest.raises(InputError, match="but DICOM"):
        found_in(tmp_path / "from")
