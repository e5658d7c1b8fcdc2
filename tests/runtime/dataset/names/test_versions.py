from pathlib import Path

import pytest

from wmh_runtime.dataset.names.versions import find_processed_versions


def scans_of(*names):
    """The names that are left, without processed versions."""
    paths = [Path(name) for name in names]
    replaced = find_processed_versions(paths)
    return [path.as_posix() for path in paths if path not in replaced]


@pytest.mark.parametrize(
    "name",
    [
        *("FLAIR_brain", "rFLAIR", "mFLAIR", "wmFLAIR", "FLAIR_reg", "FLAIR_bias_corrected"),
        *("FLAIR_to_T1", "FLAIR_in_MNI", "FLAIR2T1", "FLAIR_N4", "FLAIR_brain_restore"),
        *("FLAIR_space-T1w", "FLAIR_defaced", "FLAIR_ND", "FLAIR_MNI_1mm", "FLAIR_skull_stripped"),
        *("FLAIR_MNI", "FLAIR_MNI152", "FLAIR_reg_T1", "FLAIR_T1w_space", "FLAIR_T1_aligned"),
    ],
)
def test_a_processed_image_beside_its_scan_is_a_version(name):
    assert scans_of(f"a/{name}.nii.gz", "a/FLAIR.nii") == ["a/FLAIR.nii"]
    assert scans_of(f"a/{name}.nii.gz", "b/FLAIR.nii") == [f"a/{name}.nii.gz", "b/FLAIR.nii"]


@pytest.mark.parametrize(
    "name",
    [
        *("rsub-1_FLAIR", "wmsub-1_FLAIR", "sub-1_space-MNI_FLAIR", "sub-1_desc-brain_FLAIR"),
        *("sub-1_FLAIR_brain", "sub-1_rFLAIR"),
    ],
)
def test_a_processed_image_of_a_bids_scan_is_a_version(name):
    assert scans_of("sub-1_FLAIR.nii", f"{name}.nii") == ["sub-1_FLAIR.nii"]


def test_a_version_alone_is_the_scan():
    assert scans_of("rFLAIR.nii") == ["rFLAIR.nii"]
    assert scans_of("sub-7_space-MNI_FLAIR.nii.gz") == ["sub-7_space-MNI_FLAIR.nii.gz"]


def test_without_the_plain_scan_the_version_with_the_fewest_steps_is_taken():
    names = ("FLAIR_brain_reg_norm.nii", "FLAIR_brain_reg.nii", "FLAIR_brain.nii")
    assert scans_of(*names) == ["FLAIR_brain.nii"]
    replaced = find_processed_versions([Path(name) for name in names])
    assert set(replaced.values()) == {Path("FLAIR_brain.nii")}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("sub-1_run-1_FLAIR", "sub-1_run-2_FLAIR"),
        ("sub-1_acq-2D_FLAIR", "sub-1_acq-3D_FLAIR"),
        ("sub-1_ses-1_FLAIR", "sub-1_ses-2_FLAIR"),
        ("FLAIR_sag", "FLAIR_tra"),
        ("FLAIR_1", "FLAIR_2"),
        ("01_FLAIR", "m01_FLAIR"),  # a subject, or the prefix of SPM: when in doubt, both
        ("P1_FLAIR", "P1_FLAIR_post"),
        ("FLAIR_1mm", "FLAIR_3mm"),
        ("N3_FLAIR", "N4_FLAIR"),
        ("WM_FLAIR", "M_FLAIR"),  # initials
        ("ms001_FLAIR", "s001_FLAIR"),
        ("us001", "s001"),
        ("smith_FLAIR", "mith_FLAIR"),
        ("subject_n3_FLAIR", "subject_n4_FLAIR"),
        ("subject_n3", "subject_n4"),
        ("patient_ND_FLAIR", "patient_PP_FLAIR"),
        ("FLAIR_MNI001", "FLAIR_MNI002"),  # not the space of MNI
        ("FLAIR_in_MNI001", "FLAIR_in_MNI002"),
        ("res-1_FLAIR", "res-2_FLAIR"),  # not an entity of BIDS: no subject comes first
        ("usub01_FLAIR", "sub01_FLAIR"),
        ("brain_FLAIR", "FLAIR"),
    ],
)
def test_two_acquisitions_are_two_scans(first, second):
    assert len(scans_of(f"{first}.nii", f"{second}.nii")) == 2


STUDIES = (
    "MNI STD CORR RAW BRAIN BET REG N3 N4 ND PP NORM ORIG COPY BIAS SMOOTH RIGID WMH MS SUB RES"
    " SPACE DESC T1 T2 MSSEG"
)


@pytest.mark.parametrize("study", STUDIES.split())
@pytest.mark.parametrize(
    "name", ["{0}001_FLAIR", "{0}_001_FLAIR", "{0}-001_FLAIR", "X_{0}001_FLAIR", "{0}001"]
)
def test_two_subjects_are_two_scans_whatever_the_study_is_called(study, name):
    first = name.format(study)
    assert len(scans_of(f"{first}.nii", f"{first.replace('001', '002')}.nii")) == 2


def test_two_files_of_one_name_are_not_versions():
    assert len(scans_of("FLAIR.nii", "FLAIR.nii.gz")) == 2


def test_of_the_challenge_the_scan_as_acquired_is_taken():
    orig, pre = "Utrecht/0/orig/FLAIR.nii.gz", "Utrecht/0/pre/FLAIR.nii.gz"
    assert scans_of(pre, orig, "Utrecht/2/pre/FLAIR.nii.gz") == [orig, "Utrecht/2/pre/FLAIR.nii.gz"]
    assert scans_of("S/0/other/FLAIR.nii", "S/0/pre/FLAIR.nii") == [
        "S/0/other/FLAIR.nii",
        "S/0/pre/FLAIR.nii",
    ]
