from pathlib import Path

import pytest

from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.errors import InputError


def create(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def discover_in(folder, out="elsewhere"):
    discovery = discover(folder, Path(out))
    return [scan.relative.as_posix() for scan in discovery.scans], discovery.skipped


def test_if_some_names_contain_flair_only_these_are_scans(tmp_path):
    create(tmp_path, "a_FLAIR.nii.gz", "a.nii.gz", "b/3D_flair.nii", "FLAIR/c.nii", "notes.txt")
    scans, skipped = discover_in(tmp_path)
    assert scans == ["FLAIR/c.nii", "a_FLAIR.nii.gz", "b/3D_flair.nii"]
    assert skipped == {"no FLAIR in the file or folder name": 1}


def test_another_contrast_is_never_a_scan(tmp_path):
    create(tmp_path, "a_T1w.nii.gz", "FLAIR/a_T2.nii", "t1-sag.nii", "st1ll.nii", "T2_FLAIR.nii")
    scans, skipped = discover_in(tmp_path)
    assert scans == ["T2_FLAIR.nii"]
    assert skipped == {
        "another contrast in the file name": 3,
        "no FLAIR in the file or folder name": 1,
    }


def test_masks_of_other_programs_are_not_scans(tmp_path):
    create(tmp_path, "a_FLAIR.nii.gz", "lesion_FLAIR_mask.nii.gz", "a_FLAIR_seg.nii")
    assert discover_in(tmp_path)[0] == ["a_FLAIR.nii.gz"]


def test_if_no_name_contains_flair_every_nifti_is_a_scan(tmp_path):
    scans, skipped = discover_in(create(tmp_path, "x.nii", "deep/er/y.NII.GZ"))
    assert scans == ["deep/er/y.NII.GZ", "x.nii"]
    assert skipped == {}


def test_results_references_hidden_and_temporary_files_are_not_scans(tmp_path):
    create(
        tmp_path,
        "a.nii.gz",
        "a_label-WMH_mask.nii.gz",
        "a_label-WMH_probseg.nii.gz",
        "derivatives/reference/a_FLAIR.nii.gz",
        "._a.nii.gz",
        ".wmh-partial-7-ab.nii.gz",
    )
    scans, skipped = discover_in(tmp_path)
    assert scans == ["a.nii.gz"]
    assert skipped == {
        "a mask or a probability map": 2,
        "in a derivatives folder": 1,
        "hidden": 1,
    }


def test_the_output_folder_within_the_source_is_skipped(tmp_path):
    create(tmp_path, "a.nii.gz", "results/a.nii.gz")
    scans, skipped = discover_in(tmp_path, tmp_path / "results")
    assert scans == ["a.nii.gz"]
    assert skipped == {"in the output folder": 1}


def test_the_output_folder_may_contain_the_source(tmp_path):
    create(tmp_path / "scans", "a.nii.gz")
    assert discover_in(tmp_path / "scans", tmp_path)[0] == ["a.nii.gz"]


def test_linked_folders_are_searched_once_even_in_a_loop(tmp_path):
    create(tmp_path / "elsewhere", "b.nii.gz")
    create(tmp_path / "scans", "a.nii.gz")
    (tmp_path / "scans" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "scans")
    assert discover_in(tmp_path / "scans")[0] == ["a.nii.gz", "link/b.nii.gz"]


def test_an_unreadable_folder_is_reported(tmp_path, monkeypatch):
    create(tmp_path, "a.nii.gz")

    def walk(folder, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", str(tmp_path / "sealed")))
        yield str(folder), [], ["a.nii.gz"]

    monkeypatch.setattr("os.walk", walk)
    assert discover_in(tmp_path) == (["a.nii.gz"], {})
    (sealed,) = discover(tmp_path, tmp_path / "out").unreadable
    assert sealed == Case(tmp_path / "sealed", Path("sealed"))


def test_source_and_output_may_be_the_same_folder(tmp_path):
    create(tmp_path, "a.nii.gz", "a_label-WMH_mask.nii.gz")
    assert discover_in(tmp_path, tmp_path)[0] == ["a.nii.gz"]


def test_a_derivatives_folder_as_source_is_searched(tmp_path):
    folder = create(tmp_path / "derivatives" / "fsl", "a_FLAIR.nii.gz")
    assert discover_in(folder)[0] == ["a_FLAIR.nii.gz"]


def test_a_single_file_is_accepted_with_any_name(tmp_path):
    create(tmp_path, "derivatives/a_label-WMH_mask.nii.gz")
    path = tmp_path / "derivatives" / "a_label-WMH_mask.nii.gz"
    assert discover_in(path)[0] == ["a_label-WMH_mask.nii.gz"]


def test_the_error_without_scans_names_what_was_skipped(tmp_path):
    create(tmp_path, "a_label-WMH_mask.nii.gz")
    with pytest.raises(InputError, match=r"contains no .* scan \(skipped 1: a mask"):
        discover_in(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        discover_in(tmp_path / "nowhere")


def test_a_folder_of_dicom_files_is_reported_with_advice(tmp_path):
    create(tmp_path, "a_label-WMH_mask.nii.gz")
    (tmp_path / "scanner").mkdir()
    (tmp_path / "scanner" / "IM-0001").write_bytes(bytes(128) + b"DICM" + bytes(8))
    with pytest.raises(InputError, match=r"but DICOM files \(skipped 1: .*dcm2niix"):
        discover_in(tmp_path)
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "linked").symlink_to(tmp_path / "scanner")
    (tmp_path / "from" / "gone").symlink_to(tmp_path / "nowhere")  # cannot be read
    with pytest.raises(InputError, match="but DICOM"):
        discover_in(tmp_path / "from")
