"""Which series of a study is the FLAIR scan, and why."""

from dataclasses import replace

import pytest

from tests.runtime.dicom.series_toys import oblique_affine, person, toy_series, write
from wmh_runtime.dicom.contrast import find_contrast
from wmh_runtime.dicom.files import find_files
from wmh_runtime.dicom.selection import select_series
from wmh_runtime.dicom.series import survey
from wmh_runtime.phantom.dicom_series import FLAIR, MPRAGE, MrSequence


def study_of(folder, *all_images):
    """One study of several series, numbered from 1."""
    for number, images in enumerate(all_images, start=1):
        for image in images:
            image.SeriesNumber = number
            image.StudyInstanceUID = all_images[0][0].StudyInstanceUID
        write(images, folder / str(number))
    (study,) = survey(find_files(folder)).studies
    return study


def contrast(tmp_path, sequence=FLAIR, **values):
    images = toy_series(sequence=sequence)
    for image in images:
        for keyword, value in values.items():
            if value is None:
                delattr(image, keyword)
            else:
                setattr(image, keyword, value)
    return find_contrast(study_of(tmp_path, images).series[0])


def sequence(description, echo_ms, inversion_ms, kind="SE\\IR", repetition_ms=9000.0):
    return MrSequence(description, echo_ms, repetition_ms, inversion_ms, kind)


# Parameters of protocols in use: 2D and 3D FLAIR of several fields and vendors.
@pytest.mark.parametrize(
    ("echo_ms", "inversion_ms"),
    [(81, 2500), (120, 2250), (140, 2800), (389, 1800), (125, 1650), (340, 1600)],
)
def test_a_long_echo_after_the_inversion_of_fluid_is_flair_whatever_it_is_called(
    tmp_path, echo_ms, inversion_ms
):
    found = contrast(tmp_path, sequence("WIP 12", echo_ms, inversion_ms))
    assert (found.contrast, found.doubts) == ("flair", ())
    assert found.reason == f"inversion time {inversion_ms} ms, echo time {echo_ms} ms"


@pytest.mark.parametrize(
    ("name", "echo_ms", "inversion_ms", "kind", "reason"),
    [
        ("T2 TSE", 90, None, "SE", "no inversion, echo time 90 ms"),
        ("STIR", 70, 160, "SE\\IR", "inversion time 160 ms, echo time 70 ms"),
        ("T1 FLAIR", 10, 2000, "SE\\IR", "inversion time 2000 ms, echo time 10 ms"),
        ("SWI", 20, None, "GR", "no inversion, echo time 20 ms"),
        ("PD", 30, None, "SE", "no inversion, echo time 30 ms"),
    ],
)
def test_other_sequences_are_neither_flair_nor_t1(
    tmp_path, name, echo_ms, inversion_ms, kind, reason
):
    found = contrast(tmp_path, sequence(name, echo_ms, inversion_ms, kind))
    assert (found.contrast, found.reason) == (None, reason)


@pytest.mark.parametrize(
    ("name", "echo_ms", "inversion_ms", "kind"),
    [("MPRAGE", 3, 900, "GR\\IR"), ("x", 2.3, 1100, "GR\\IR"), ("Ax T1 SE", 12, None, "SE")],
)
def test_a_short_echo_with_an_inversion_of_a_second_is_t1(
    tmp_path, name, echo_ms, inversion_ms, kind
):
    assert contrast(tmp_path, sequence(name, echo_ms, inversion_ms, kind)).contrast == "t1"


def test_without_an_inversion_time_the_description_counts_and_is_in_doubt(tmp_path):
    found = contrast(
        tmp_path, replace(FLAIR, description="t2_tirm_tra_dark-fluid"), InversionTime=None
    )
    assert found.contrast == "flair"
    assert found.doubts == (
        "only its description says FLAIR: inversion, its time not given, echo time 120 ms",
    )


@pytest.mark.parametrize(
    ("values", "doubt"),
    [
        ({"ImageType": ["DERIVED", "PRIMARY"]}, "it is derived from other images"),
        ({"ContrastBolusAgent": "Gadovist"}, "it was acquired with a contrast agent"),
        ({"SeriesDescription": "t2_spc_dir"}, "its description says double inversion recovery"),
        ({"BodyPartExamined": "CSPINE"}, "its body part is a spine"),
    ],
)
def test_what_may_spoil_a_measurement_is_in_doubt(tmp_path, values, doubt):
    found = contrast(tmp_path, **values)
    assert (found.contrast, found.doubts) == ("flair", (doubt,))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "reformatted"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, "a phase image"),
        ({"DiffusionBValue": 1000.0}, "a diffusion image"),
        ({"Modality": "CT"}, "of modality CT"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "no MR images"),
        ({"EchoTime": ""}, "inversion time 2500 ms, echo time not given"),
    ],
)
def test_what_was_not_acquired_as_an_image_is_no_scan(tmp_path, values, reason):
    values.setdefault("SeriesDescription", "x")
    found = contrast(tmp_path, **values)
    assert (found.contrast, found.reason) == (None, reason)


def test_the_series_with_fewest_doubts_is_chosen(tmp_path):
    derived = toy_series()
    for image in derived:
        image.ImageType = ["DERIVED", "PRIMARY"]
    study = study_of(tmp_path, derived, toy_series(), toy_series(sequence=MPRAGE))
    selection = select_series(study, ("flair",))
    assert selection.chosen["flair"].series.number == 2
    assert selection.chosen["flair"].warnings == ()
    assert [(series.number, reason) for series, reason in selection.others] == [
        (1, "FLAIR, but series 2 was taken (it is derived from other images)"),
        (3, "T1, which is not needed"),
    ]


def test_of_two_flair_series_the_one_with_smaller_voxels_is_chosen_and_said(tmp_path):
    fine = oblique_affine(spacing_mm=(1, 1, 1))
    study = study_of(tmp_path, toy_series(fine), toy_series())
    choice = select_series(study, ("flair",)).chosen["flair"]
    assert choice.series.number == 1
    assert choice.warnings == ()
    assert choice.reason.endswith("; smallest voxels of 2 FLAIR series")


def test_of_two_series_alike_the_later_one_is_chosen_with_a_warning(tmp_path):
    first, second = toy_series(), toy_series()
    for image in first:
        image.AcquisitionTime = "130000"
    choice = select_series(study_of(tmp_path, first, second), ("flair",)).chosen["flair"]
    assert choice.series.number == 1
    assert choice.warnings == (
        "2 FLAIR series are alike (series 1, series 2): series 1 was taken, which was acquired"
        " last",
    )


@pytest.mark.parametrize("wanted", ["2", "uid", "*mprage*"])
def test_a_series_that_is_asked_for_is_taken_with_a_warning_if_it_is_no_flair(tmp_path, wanted):
    study = study_of(tmp_path, toy_series(), toy_series(sequence=MPRAGE))
    wanted = study.series[1].uid if wanted == "uid" else wanted
    choice = select_series(study, ("flair",), wanted).chosen["flair"]
    assert choice.series.number == 2
    assert choice.warnings == (
        "series 2 was asked for, but is no FLAIR: inversion time 900 ms, echo time 3 ms",
    )


def test_a_study_may_have_no_series_that_is_asked_for(tmp_path):
    study = study_of(tmp_path, toy_series())
    assert select_series(study, ("flair",), "7").chosen == {}


def test_flair_and_t1_are_both_chosen(tmp_path):
    study = study_of(tmp_path, toy_series(sequence=MPRAGE), toy_series())
    chosen = select_series(study, ("flair", "t1")).chosen
    assert {name: choice.series.number for name, choice in chosen.items()} == {"flair": 2, "t1": 1}


def test_studies_are_told_apart_by_their_uids_in_any_folder(tmp_path):
    write(toy_series(who=person("P1")) + toy_series(who=person("P2")), tmp_path)
    assert len(survey(find_files(tmp_path)).studies) == 2
