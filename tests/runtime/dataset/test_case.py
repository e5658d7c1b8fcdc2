from pathlib import Path

import pytest

from wmh_runtime.dataset.case import Case


def warnings_of(relative, channel="flair"):
    return Case(Path("/data", relative), Path(relative), channel).warnings


@pytest.mark.parametrize("relative", ["sub-1_FLAIR.nii.gz", "patient1.nii.gz", "FLAIR/1.nii"])
def test_a_flair_or_an_unknown_image_has_no_warning(relative):
    assert warnings_of(relative) == ()


@pytest.mark.parametrize("relative", ["sub-1_T1w.nii.gz", "T1/patient1.nii.gz"])
def test_another_contrast_has_a_warning(relative):
    assert warnings_of(relative, "t1") == ()
    assert warnings_of(relative) == ("its name says T1, but it is taken as FLAIR",)


def test_a_name_that_may_not_mean_flair_has_a_warning():
    ask = "check that it is a T2-weighted FLAIR scan"
    assert warnings_of("P1/T1/P1_T1_FLAIR.nii.gz") == (f"its name says T1 FLAIR: {ask}",)
    assert warnings_of("MartinFLAIR.nii") == (f"its name says FLAIR within another word: {ask}",)


def test_a_t1_with_contrast_agent_has_a_warning():
    others = {"t1": Path("/data/sub-1_ce-gd_T1w.nii")}
    case = Case(Path("/data/sub-1_FLAIR.nii"), Path("sub-1_FLAIR.nii"), others=others)
    (warning,) = case.warnings
    assert warning.startswith("the name of sub-1_ce-gd_T1w.nii says contrast agent")
