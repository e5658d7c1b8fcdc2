from pathlib import Path

import pytest

from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.channels import ChannelRules
from wmh_runtime.dataset.discovery import discover, find_cases, summarize_skipped
from wmh_runtime.errors import InputError


def create(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def discover_in(folder, out=None, pattern=None):
    """Return the scans, and the reason for each skipped file."""
    discovery = discover(folder, out, pattern)
    skipped = {one.path.as_posix(): one.reason for one in discovery.skipped}
    return [scan.relative.as_posix() for scan in discovery.scans], skipped


NO_CONTRAST = "its name says no contrast, and other files are FLAIR by their names"
NAMED_MASK = "a mask or a probability map, by its name or folder"


def test_if_some_names_are_flair_only_these_are_scans(tmp_path):
    create(tmp_path, "a_FLAIR.nii.gz", "a.nii.gz", "b/3D_flair.nii", "FLAIR/c.nii", "notes.txt")
    create(tmp_path, "d/t2_tirm_tra_dark-fluid.nii")
    scans, skipped = discover_in(tmp_path)
    assert scans == [
        *("FLAIR/c.nii", "a_FLAIR.nii.gz", "b/3D_flair.nii"),
        "d/t2_tirm_tra_dark-fluid.nii",
    ]
    assert skipped == {"a.nii.gz": NO_CONTRAST}


def test_another_contrast_is_never_a_scan(tmp_path):
    create(tmp_path, "a_T1w.nii.gz", "FLAIR/a_T2.nii", "t1-sag.nii", "st1ll.nii", "T2_FLAIR.nii")
    scans, skipped = discover_in(tmp_path)
    assert scans == ["T2_FLAIR.nii"]
    assert skipped == {
        "a_T1w.nii.gz": "T1, by its name or folder",
        "FLAIR/a_T2.nii": "T2, by its name or folder",
        "t1-sag.nii": "T1, by its name or folder",
        "st1ll.nii": NO_CONTRAST,
    }


def test_an_image_that_was_registered_to_flair_is_not_flair(tmp_path):
    create(tmp_path, "x.nii", "sub-19_space-FLAIR_T1w.nii.gz", "T1_to_FLAIR.nii", "MPRAGE.nii")
    create(tmp_path, "ples_lpa_mFLAIR.nii", "FLAIR_lesion.nii", "FLAIR_brainmask.nii")
    assert discover_in(tmp_path)[0] == ["x.nii"]


def test_t1_may_be_a_time_point_so_no_scan_is_lost(tmp_path):
    names = [
        f"{subject}/{t}/{subject}_{t}_FLAIR.nii.gz"
        for subject in ("P1", "P2")
        for t in ("T1", "T2")
    ]
    create(tmp_path, *names)
    assert discover_in(tmp_path) == (names, {})


def test_scans_without_a_contrast_are_not_lost_beside_one_in_doubt(tmp_path):
    create(tmp_path, "Ax_T1_FLAIR.nii", "scan.nii")
    assert discover_in(tmp_path) == (["Ax_T1_FLAIR.nii", "scan.nii"], {})


def test_a_subject_is_not_a_contrast(tmp_path):
    names = ["PD_001.nii", "PD_002/scan.nii", "T1D_023.nii", "sub-FLAIR01.nii"]
    create(tmp_path, *names, "sub-FLAIR01_T1w.nii")
    assert discover_in(tmp_path)[0] == names


def test_masks_of_other_programs_are_not_scans(tmp_path):
    create(tmp_path, "a_FLAIR.nii.gz", "lesion_FLAIR_mask.nii.gz", "a_FLAIR_seg.nii")
    create(tmp_path, "masks/a_FLAIR.nii.gz")
    scans, skipped = discover_in(tmp_path)
    assert scans == ["a_FLAIR.nii.gz"]
    assert set(skipped.values()) == {NAMED_MASK}


def test_if_no_name_contains_flair_every_image_without_a_contrast_is_a_scan(tmp_path):
    scans, skipped = discover_in(create(tmp_path, "x.nii", "deep/er/y.NII.GZ"))
    assert scans == ["deep/er/y.NII.GZ", "x.nii"]
    assert skipped == {}


def test_processed_versions_are_skipped_and_name_their_scan(tmp_path):
    create(tmp_path, "1/FLAIR.nii", "1/FLAIR_brain.nii", "1/rFLAIR.nii", "2/FLAIR_brain.nii")
    scans, skipped = discover_in(tmp_path)
    assert scans == ["1/FLAIR.nii", "2/FLAIR_brain.nii"]
    assert skipped == dict.fromkeys(
        ("1/FLAIR_brain.nii", "1/rFLAIR.nii"), "another version of 1/FLAIR.nii"
    )


def test_each_subject_of_the_challenge_has_one_scan(tmp_path):
    for subject in ("training/Utrecht/0", "training/Amsterdam/GE3T/100"):
        for folder in ("orig", "pre"):
            create(tmp_path / subject, f"{folder}/FLAIR.nii.gz", f"{folder}/T1.nii.gz")
        create(tmp_path / subject, "orig/3DT1.nii.gz", "orig/3DT1_mask.nii.gz", "wmh.nii.gz")
        create(tmp_path / subject, "orig/reg_3DT1_to_FLAIR.txt")
    scans, skipped = discover_in(tmp_path)
    assert scans == [
        "training/Amsterdam/GE3T/100/orig/FLAIR.nii.gz",
        "training/Utrecht/0/orig/FLAIR.nii.gz",
    ]
    assert skipped["training/Utrecht/0/pre/FLAIR.nii.gz"] == (
        "another version of training/Utrecht/0/orig/FLAIR.nii.gz"
    )
    assert len(skipped) == 2 * 6  # of each subject: FLAIR, two T1, 3DT1 and two masks


def test_results_references_hidden_and_temporary_files_are_not_scans(tmp_path):
    create(
        tmp_path,
        "a.nii.gz",
        "a_label-WMH_mask.nii.gz",
        "a_label-WMH_probseg.nii.gz",
        "derivatives/reference/a_FLAIR.nii.gz",
        "._a.nii.gz",
        ".git/annex/objects/b_FLAIR.nii.gz",
        ".wmh-partial-7-ab.nii.gz",
    )
    scans, skipped = discover_in(tmp_path)
    assert scans == ["a.nii.gz"]
    assert skipped == {
        "a_label-WMH_mask.nii.gz": NAMED_MASK,
        "a_label-WMH_probseg.nii.gz": NAMED_MASK,
        "derivatives": "results and references, not scans",
        ".git": "hidden",
        "._a.nii.gz": "hidden",
    }


def test_the_output_folder_within_the_source_is_not_searched(tmp_path):
    create(tmp_path, "a.nii.gz", "results/a.nii.gz")
    assert discover_in(tmp_path, tmp_path / "results") == (["a.nii.gz"], {})
    assert discover_in(tmp_path)[0] == ["a.nii.gz", "results/a.nii.gz"]


def test_the_output_folder_may_contain_the_source(tmp_path):
    create(tmp_path / "scans", "a.nii.gz")
    assert discover_in(tmp_path / "scans", tmp_path)[0] == ["a.nii.gz"]


def test_each_link_to_a_folder_is_a_folder(tmp_path):
    create(tmp_path / "sub-01", "FLAIR.nii")
    (tmp_path / "sub-02").symlink_to("sub-01")
    assert discover_in(tmp_path)[0] == ["sub-01/FLAIR.nii", "sub-02/FLAIR.nii"]


def test_linked_folders_are_searched_once_even_in_a_loop(tmp_path):
    create(tmp_path / "elsewhere", "b.nii.gz")
    create(tmp_path / "scans", "a.nii.gz")
    (tmp_path / "scans" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "scans")
    scans, skipped = discover_in(tmp_path / "scans")
    assert scans == ["a.nii.gz", "link/b.nii.gz"]
    assert skipped == {"link/loop": "a link to a folder that contains it"}


def test_an_unreadable_folder_is_reported(tmp_path, monkeypatch):
    create(tmp_path, "a.nii.gz")

    def walk(folder, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", str(tmp_path / "sealed")))
        yield str(folder), [], ["a.nii.gz"]

    monkeypatch.setattr("os.walk", walk)
    assert discover_in(tmp_path) == (["a.nii.gz"], {})
    (sealed,) = discover(tmp_path).unreadable
    assert sealed == Case(tmp_path / "sealed", Path("sealed"))


def test_a_derivatives_folder_as_source_is_searched(tmp_path):
    folder = create(tmp_path / "derivatives" / "fsl", "a_FLAIR.nii.gz")
    assert discover_in(folder)[0] == ["a_FLAIR.nii.gz"]


def test_a_single_file_is_accepted_with_any_name(tmp_path):
    create(tmp_path, "derivatives/a_label-WMH_mask.nii.gz")
    path = tmp_path / "derivatives" / "a_label-WMH_mask.nii.gz"
    assert discover_in(path)[0] == ["a_label-WMH_mask.nii.gz"]


def cases_of(found):
    return {case.relative.as_posix(): list(case.others) for case in found.scans}


def test_an_image_without_a_contrast_in_its_name_is_no_t1(tmp_path):
    create(tmp_path, "1/FLAIR.nii", "1/scan.nii", "2/FLAIR.nii", "2/T1.nii")
    rules = ChannelRules(("flair", "t1"), interchangeable=True)
    found = find_cases(tmp_path, None, rules)
    assert cases_of(found) == {"1/FLAIR.nii": [], "2/FLAIR.nii": ["t1"]}
    for number, others in ((1, []), (2, ["t1"])):
        found = find_cases(tmp_path / str(number) / "FLAIR.nii", None, rules)
        assert cases_of(found) == {"FLAIR.nii": others}
    with pytest.raises(InputError, match=r"no T1 image for 1 of 2 scans, such as 1/FLAIR\.nii"):
        find_cases(tmp_path, None, ChannelRules(("flair", "t1")))


def test_one_file_gets_no_t1_of_another_person(tmp_path):
    create(tmp_path, "P1_FLAIR.nii", "P2_FLAIR.nii", "P2_T1.nii")
    rules = ChannelRules(("flair", "t1"), interchangeable=True)
    for person, others in (("P1", []), ("P2", ["t1"])):
        found = find_cases(tmp_path / f"{person}_FLAIR.nii", None, rules)
        assert cases_of(found) == {f"{person}_FLAIR.nii": others}


def test_a_pattern_for_t1_finds_no_flair_among_derivatives(tmp_path):
    create(tmp_path, "sub-1_FLAIR.nii", "derivatives/sub-1_T1w.nii", "derivatives/sub-1_FLAIR.nii")
    rules = ChannelRules(("flair", "t1"), True, {"t1": "sub-1_T1w.nii"})
    found = find_cases(tmp_path, None, rules)
    assert [case.relative.as_posix() for case in found.scans if case.channel == "flair"] == [
        "sub-1_FLAIR.nii"
    ]


def test_a_pattern_alone_decides(tmp_path):
    names = ["1/FLAIR_brain.nii", "derivatives/1/FLAIR_brain.nii"]
    create(tmp_path, *names, "1/FLAIR.nii", "1/FLAIR_brain.json", "1/._FLAIR_brain.nii")
    scans, skipped = discover_in(tmp_path, pattern="*_brain*")
    assert scans == names
    assert skipped == {
        "1/FLAIR.nii": "does not match the pattern",
        "1/._FLAIR_brain.nii": "hidden",
    }
    assert discover_in(tmp_path, pattern="1/FLAIR.nii")[0] == ["1/FLAIR.nii"]
    with pytest.raises(InputError, match=r"contains no image that matches \*_T2\.nii"):
        discover_in(tmp_path, pattern="*_T2.nii")
    for empty in ("", "."):
        with pytest.raises(InputError, match="pattern: is empty"):
            discover_in(tmp_path, pattern=empty)


def test_a_pair_of_header_and_voxels_is_one_scan(tmp_path):
    create(tmp_path, "a.hdr", "a.img", "b.hdr", "c.IMG", "c.HDR", "d.img", "e.mgz", "f.mgh")
    scans, skipped = discover_in(tmp_path)
    assert scans == ["a.hdr", "c.HDR", "e.mgz", "f.mgh"]
    assert skipped == {"b.hdr": "its .img file is missing", "d.img": "its .hdr file is missing"}


def test_the_files_of_a_pair_may_be_gzipped(tmp_path):
    create(
        tmp_path,
        "a.hdr",
        "a.img.gz",
        "b.hdr.gz",
        "b.img.gz",
        "c.hdr.gz",
        "c.img",
        "d.HDR",
        "d.IMG.GZ",
    )
    create(tmp_path, "e.hdr.gz", "f.img.gz")
    scans, skipped = discover_in(tmp_path)
    assert scans == ["a.hdr", "b.hdr.gz", "c.hdr.gz", "d.HDR"]
    assert skipped == {
        "e.hdr.gz": "its .img file is missing",
        "f.img.gz": "its .hdr file is missing",
    }


def test_images_in_other_formats_are_named(tmp_path):
    create(tmp_path, "a.nii", "a.nrrd", "b.nii (1).gz", "c.zip", "d.MHA", "a.json", "notes.docx")
    scans, skipped = discover_in(tmp_path)
    assert scans == ["a.nii"]
    assert skipped == {
        "a.nrrd": ".nrrd files are not read; convert to NIfTI with 3D Slicer or SimpleITK",
        "b.nii (1).gz": "its name does not end in .nii or .nii.gz; rename it",
        "c.zip": "an archive; unpack it",
        "d.MHA": ".mha files are not read; convert to NIfTI with 3D Slicer or SimpleITK",
    }


def test_a_folder_of_dicom_files_beside_scans_is_named(tmp_path):
    create(tmp_path, "a.nii", "a.txt", "named/1.dcm")
    write_dicom(tmp_path / "unnamed" / "1.2.840.7")
    scans, skipped = discover_in(tmp_path)
    assert scans == ["a.nii"]
    assert skipped == dict.fromkeys(("named", "unnamed"), "DICOM files; give their folder alone")


def test_what_was_skipped_is_counted_by_kind(tmp_path):
    create(tmp_path, "a_FLAIR.nii", "a_T1w.nii", "a_mask.nii", "b_mask.nii")
    found = discover(tmp_path)
    assert summarize_skipped(found.skipped) == "3 files (2 masks, 1 T1 image)"


def test_the_error_without_scans_names_what_was_skipped(tmp_path):
    create(tmp_path, "a_label-WMH_mask.nii.gz")
    with pytest.raises(InputError, match=r"contains no .* scan \(skipped 1 file \(1 mask\), the"):
        discover_in(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        discover_in(tmp_path / "nowhere")


def write_dicom(path):
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(128) + b"DICM" + bytes(8))


def test_a_folder_of_dicom_files_is_reported_with_advice(tmp_path):
    create(tmp_path, "a_label-WMH_mask.nii.gz")
    write_dicom(tmp_path / "scanner" / "IM-0001")
    with pytest.raises(
        InputError, match=r"but DICOM files \(skipped 2 files .*Give their folder alone"
    ):
        discover_in(tmp_path)
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "linked").symlink_to(tmp_path / "scanner")
    (tmp_path / "from" / "gone").symlink_to(tmp_path / "nowhere")  # cannot be read
    with pytest.raises(InputError, match="but DICOM"):
        discover_in(tmp_path / "from")
