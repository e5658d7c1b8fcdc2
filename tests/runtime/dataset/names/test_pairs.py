"""Which T1 belongs to which FLAIR, by their names."""

from pathlib import Path

import pytest

from wmh_runtime.dataset.names.pairs import find_pairs, without_scan
from wmh_runtime.errors import InputError


def pairs(scans, others):
    found = find_pairs(map(Path, scans), map(Path, others))
    return {scan.as_posix(): other.as_posix() for scan, other in found.items()}


@pytest.mark.parametrize(
    ("scan", "other"),
    [
        ("sub-1/anat/sub-1_FLAIR.nii", "sub-1/anat/sub-1_T1w.nii"),
        ("sub-1_ses-2_run-1_FLAIR.nii", "sub-1_ses-2_run-1_T1w.nii"),
        ("sub-1_run-2_FLAIR.nii", "sub-1_T1w.nii"),  # one T1 of all runs
        ("sub-1_FLAIR.nii", "sub-1_space-FLAIR_T1w.nii"),
        ("sub-1_space-MNI_FLAIR.nii", "sub-1_space-MNI_T1w.nii"),
        ("Utrecht/0/pre/FLAIR.nii", "Utrecht/0/pre/T1.nii"),
        ("P1/t2_tirm_tra_dark-fluid.nii", "P1/t1_mprage_sag.nii"),
        ("P1/FLAIR/001.nii", "P1/T1/001.nii"),
        ("sub-1_t2_tirm_dark-fluid.nii", "sub-1_acq-mprage_T1w.nii"),
        ("P1_T1_FLAIR.nii", "P1_T1_T1w.nii"),  # of the first time point
        ("0/FLAIR.nii", "0/P1_T1.nii"),  # alone in their folder
        ("P1_FLAIR.nii", "P1_T1_brain.nii"),
    ],
)
def test_names_of_one_visit_are_a_pair(scan, other):
    assert pairs([scan], [other]) == {scan: other}


@pytest.mark.parametrize(
    ("scan", "other"),
    [
        ("sub-1_FLAIR.nii", "sub-2_T1w.nii"),
        ("sub-1_ses-1_FLAIR.nii", "sub-1_ses-2_T1w.nii"),
        ("sub-1_run-1_FLAIR.nii", "sub-1_run-2_T1w.nii"),
        ("sub-1_FLAIR.nii", "sub-1_space-MNI_T1w.nii"),
        ("a/FLAIR.nii", "b/T1.nii"),
        ("P1_FLAIR.nii", "P2_T1.nii"),
        ("P1/FLAIR/001.nii", "P1/T1/002.nii"),
        ("01_02_FLAIR.nii", "02_01_T1.nii"),
        ("P1_T2_FLAIR.nii", "P1_T1_T1w.nii"),
        ("sub-1_20200101_FLAIR.nii", "sub-1_20210101_T1w.nii"),
        ("sub-A-01_FLAIR.nii", "sub-A-02_T1w.nii"),
        ("sub-1_ses-1_FLAIR.nii", "sub-1_T1w.nii"),
    ],
)
def test_names_of_different_visits_or_spaces_are_none(scan, other):
    assert pairs([scan], [other]) == {}


def test_one_flair_among_the_t1_of_others_gets_none():
    assert pairs(["P1_FLAIR.nii"], ["P2_T1.nii", "P3_T1_brain.nii"]) == {}
    assert pairs(["FLAIR.nii", "P2_FLAIR.nii"], ["P2_T1.nii"]) == {"P2_FLAIR.nii": "P2_T1.nii"}


def test_one_image_that_the_user_named_belongs_to_the_one_scan():
    scans, others = [Path("a/one.nii")], [Path("a/two.nii")]
    assert find_pairs(scans, others) == {}
    assert find_pairs(scans, others, is_explicit=True) == {scans[0]: others[0]}


@pytest.mark.parametrize(
    ("scan", "other"),
    [
        ("sub-1_FLAIR.nii", "sub-2_T1w.nii"),
        ("sub-1_ses-1_FLAIR.nii", "sub-1_ses-2_T1w.nii"),
    ],
)
def test_an_image_of_another_subject_or_session_does_not_belong_to_a_scan(scan, other):
    assert find_pairs([Path(scan)], [Path(other)], is_explicit=True) == {}


def test_the_image_of_the_same_run_comes_first():
    scan, same, none = map(Path, ("sub-1_run-1_FLAIR.nii", "sub-1_run-1_T1w.nii", "sub-1_T1w.nii"))
    assert find_pairs([scan], [none, same]) == {scan: same}


def test_an_image_is_a_visit_of_its_own_only_where_there_is_no_scan():
    images = ["sub-1_T1w.nii", "sub-1_ce-gad_T1w.nii", "sub-2_T1w.nii", "sub-3_ce-gad_T1w.nii"]
    scans = ["sub-1_FLAIR.nii"]
    found = without_scan(map(Path, images), map(Path, scans))
    assert found == [Path("sub-2_T1w.nii")]


def test_in_a_folder_of_several_people_all_words_must_agree():
    scans = ["P1_FLAIR.nii", "P2_FLAIR.nii", "P3_FLAIR.nii"]
    assert pairs(scans, ["P1_T1.nii", "P2_T1_brain.nii"]) == {
        "P1_FLAIR.nii": "P1_T1.nii",
        "P2_FLAIR.nii": "P2_T1_brain.nii",
    }


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("sub-1_T1w.nii", "sub-1_ce-gd_T1w.nii"),
        ("sub-1_acq-3D_T1w.nii", "sub-1_acq-2D_T1w.nii"),
        ("sub-1_T1w.nii", "sub-1_rec-norm_T1w.nii"),
        ("sub-1_acq-3D_T1_to_FLAIR.nii", "sub-1_acq-3D_T1w.nii"),
    ],
)
def test_of_several_images_the_one_that_fits_best_is_taken(better, worse):
    scan = "sub-1_acq-3D_FLAIR.nii"
    assert pairs([scan], [worse, better]) == pairs([scan], [better, worse]) == {scan: better}


def test_images_that_fit_equally_well_are_ambiguous():
    others = ["sub-1_acq-a_T1w.nii", "sub-1_acq-b_T1w.nii"]
    with pytest.raises(InputError, match=r"may belong to sub-1_acq-a_T1w.nii or to sub-1_acq-b"):
        pairs(["sub-1_FLAIR.nii"], others)
