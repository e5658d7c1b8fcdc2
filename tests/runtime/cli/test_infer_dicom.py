"""`wmh-infer` on DICOM files: which series it takes, what it names them, and what it refuses."""

import os
import shutil
import stat
import sys
import zipfile

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread as read_file

from tests.runtime.dicom.head_series import head_images, write_head_series
from tests.runtime.dicom.series_toys import person, toy_series, write
from wmh_runtime.cli.infer.main import main
from wmh_runtime.files.tables import read_table
from wmh_runtime.phantom.dicom_series import MPRAGE

PATIENT = {"name": "Curie^Marie", "number": "MRN-4711"}
IDENTIFIERS = ("Curie", "Marie", "MRN-4711", "20240229", "1.2.826")


@pytest.fixture
def infer(tmp_path, toy_bundle, run_command):
    def run(*options, source=tmp_path / "dicom", out=tmp_path / "out"):
        known = ("--bundle", toy_bundle, "--backend", "onnxruntime")
        return run_command(main, source, out, *options, *known)

    return run


@pytest.fixture
def study(tmp_path):
    """A FLAIR and a T1 series of a patient, in folders that name her."""
    who = person(PATIENT["number"], name=PATIENT["name"])
    folder = tmp_path / "dicom" / PATIENT["name"] / "MRN-4711"
    write_head_series(folder / "flair", who=who)
    shutil.rmtree(folder / "flair-nifti")
    write(toy_series(sequence=MPRAGE, number=3, who=who), folder / "t1")
    return folder


def only_mask(out):
    (mask,) = out.rglob("*_mask.nii.gz")
    return mask


def test_the_flair_series_is_segmented_and_the_choice_is_said(tmp_path, infer, study):
    status, said, _ = infer()
    assert status == 0
    assert f" is series 5 (FLAIR) in {study / 'flair'}: inversion time 2500 ms, echo" in said
    mask = only_mask(tmp_path / "out")
    scan = nib.load(tmp_path / "out" / "scans" / mask.name.replace("label-WMH_mask", "FLAIR"))
    assert np.asarray(nib.load(mask).dataobj).sum() == 8  # one lesion of 2 × 2 × 2 voxels
    np.testing.assert_array_equal(nib.load(mask).affine, scan.affine)
    (skipped,) = read_table(tmp_path / "out" / "skipped.csv")
    assert skipped["reason"] == "series 3: T1, which is not needed"


@pytest.mark.parametrize("options", [(), ("--deidentify",)])
def test_no_identifier_is_in_any_name_table_or_page(tmp_path, infer, study, options):
    options = (*options, tmp_path / "keys") if options else ()
    infer("--probability", "--viewer", *options)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        for identifier in IDENTIFIERS:
            assert identifier not in str(path.relative_to(tmp_path))
            assert identifier.encode() not in content, (path, identifier)


def test_names_are_the_same_in_the_next_run(tmp_path, infer, study):
    infer()
    _, said, _ = infer()
    assert "1 scan finished, 1 of them by earlier or other runs" in said


def test_pseudonyms_group_the_studies_of_a_patient_in_their_order(tmp_path, infer):
    for number, (patient, year) in enumerate([("A", 2020), ("A", 2022), ("B", 2021)]):
        who = person(patient, day=np.datetime64(f"{year}-03-01").item())
        write_head_series(tmp_path / "dicom" / str(number), who=who, seed=number)
        shutil.rmtree(tmp_path / "dicom" / f"{number}-nifti")
    keys = tmp_path / "keys"
    assert infer("--deidentify", keys)[0] == 0
    rows = {
        (row["patient_id"], row["study_date"]): row["name"].split("_")
        for row in read_table(keys / "correspondence.csv")
    }
    first, second = rows["A", "20200301"], rows["A", "20220301"]
    assert first[0] == second[0] != rows["B", "20210301"][0]
    days = [int(name[1].removeprefix("ses-")) for name in (first, second)]
    assert days[1] - days[0] == 730  # 2020 is a leap year, its 29 February is over
    if os.name == "posix":
        assert stat.S_IMODE(keys.stat().st_mode) == 0o700


def test_another_key_gives_other_names(tmp_path, infer, study):
    infer("--deidentify", tmp_path / "one", out=tmp_path / "out1")
    infer("--deidentify", tmp_path / "two", out=tmp_path / "out2")
    assert only_mask(tmp_path / "out1").name != only_mask(tmp_path / "out2").name


def test_a_zip_archive_is_read(tmp_path, infer, study):
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(study.rglob("*.dcm")):
            packed.write(path, path.relative_to(study))
        packed.writestr("README.txt", "no image")
    assert infer(source=archive)[0] == 0
    infer(out=tmp_path / "out2")
    assert only_mask(tmp_path / "out").read_bytes() == only_mask(tmp_path / "out2").read_bytes()


def test_a_series_that_fails_does_not_stop_the_others(tmp_path, infer):
    write_head_series(tmp_path / "dicom" / "good")
    lacking = head_images(tmp_path / "nifti", who=person("P2"))
    write([*lacking[:2], *lacking[3:]], tmp_path / "dicom" / "lacking")
    shutil.rmtree(tmp_path / "dicom" / "good-nifti")
    status, said, errors = infer()
    assert status == 1
    assert "1 scan finished" in said
    assert "FLAIR.nii.gz: series 5 lacks 1 slice: slices are 5.00 mm apart, but image" in errors
    (failure,) = read_table(tmp_path / "out" / "failures.csv")
    assert "lacks 1 slice" in failure["reason"]


def test_without_flair_all_series_are_listed(tmp_path, infer):
    write(toy_series(sequence=MPRAGE, number=3), tmp_path / "dicom")
    status, _, errors = infer()
    assert status == 2
    assert errors == (
        f"error: {tmp_path / 'dicom'}: holds no series of FLAIR. It has series 3 (T1 MPRAGE): T1,"
        " which is not needed. Choose one by --series.\n"
    )


def test_a_series_can_be_chosen(tmp_path, infer, study):
    shutil.rmtree(study / "t1")
    write_head_series(study / "other", who=person("P2"))
    shutil.rmtree(study / "other-nifti")
    _, said, _ = infer("--series", "5", "--dry-run")
    assert "2 scans to segment" in said
    assert infer("--series", "6")[0] == 2


def test_of_two_series_with_one_number_the_flair_is_taken(tmp_path, infer, study):
    localizer = toy_series(who=person(PATIENT["number"], name=PATIENT["name"]))
    for image in localizer:
        image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        image.StudyInstanceUID = read_file(study / "flair" / "0001.dcm").StudyInstanceUID
    write(localizer, study / "localizer")
    _, said, _ = infer("--series", "5", "--dry-run")
    assert f"series 5 (FLAIR) in {study / 'flair'}" in said


def test_a_dry_run_says_what_will_fail_and_what_is_in_doubt(tmp_path, infer, study):
    (study / "flair" / "0003.dcm").unlink()
    for path in (study / "flair").iterdir():
        image = read_file(path)
        image.ContrastBolusAgent = "Gadovist"
        image.save_as(path)
    _, said, errors = infer("--dry-run")
    assert "1 scan to segment" in said
    assert "series 5: it was acquired with a contrast agent" in errors
    assert "warning: will fail: study-" in errors
    assert "series 5 lacks 1 slice" in errors


def test_a_study_without_a_scan_is_named_by_its_folder_and_kept_in_the_correspondence(
    tmp_path, infer, study
):
    write(toy_series(sequence=MPRAGE, who=person("P7")), tmp_path / "dicom" / "other")
    _, _, errors = infer("--deidentify", tmp_path / "keys")
    assert (
        f"1 of 2 DICOM studies without a scan to segment: {tmp_path / 'dicom' / 'other'}" in errors
    )
    known = {row["patient_id"] for row in read_table(tmp_path / "keys" / "correspondence.csv")}
    assert known == {PATIENT["number"], "P7"}


def test_a_dry_run_writes_no_key(tmp_path, infer, study):
    assert infer("--deidentify", tmp_path / "keys", "--dry-run")[0] == 0
    assert not (tmp_path / "keys").exists()


def test_a_folder_that_does_not_exist_is_named(tmp_path, infer):
    status, _, errors = infer("--dicom", source=tmp_path / "none")
    assert (status, "none: does not exist" in errors) == (2, True)


def test_damaged_files_beside_a_series_are_a_warning(tmp_path, infer, study):
    whole = (study / "flair" / "0001.dcm").read_bytes()
    (study / "flair" / "0009.dcm").write_bytes(whole[:400])
    status, _, errors = infer()
    assert status == 0
    assert "1 DICOM file cannot be read, such as" in errors
    assert "series 5: 1 DICOM file beside it cannot be read: slices may be missing" in errors


def test_dicom_files_beside_nifti_scans_are_not_read(tmp_path, infer, study):
    shutil.copytree(tmp_path / "dicom", tmp_path / "mixed")
    head_images(tmp_path / "mixed" / "FLAIR")
    status, said, _ = infer(source=tmp_path / "mixed")
    assert status == 0
    assert "1 scan to segment" in said
    assert "2 DICOM folders" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--pattern", "*"), "--pattern: is for NIfTI scans. Use --series."),
        (
            ("--dicom", "--deidentify", "keys"),
            "--dicom: would name the patients, but the other results have pseudonyms. Make the"
            " DICOM results in a run of their own.",
        ),
        (
            ("--deidentify", "out/keys"),
            "--deidentify: is in the folder of the results, which are given to others. Choose a"
            " folder apart.",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path, monkeypatch, infer, study, options, message
):
    monkeypatch.chdir(tmp_path)
    assert infer(*options) == (2, "", f"error: {message}\n")


def test_a_table_of_correspondence_without_its_key_is_refused(tmp_path, infer, study):
    infer("--deidentify", tmp_path / "keys")
    (tmp_path / "keys" / "key").unlink()
    status, _, errors = infer("--deidentify", tmp_path / "keys", out=tmp_path / "other")
    assert status == 2
    assert "has a table of correspondence, but no key (key). Restore the key" in errors


def test_a_key_that_is_damaged_is_refused(tmp_path, infer, study):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "key").write_text("short")
    status, _, errors = infer("--deidentify", tmp_path / "keys")
    assert status == 2
    assert "is no key of 64 hexadecimal digits. Choose another folder, or restore" in errors


def test_without_the_libraries_it_is_said_how_to_install_them(tmp_path, monkeypatch, infer, study):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    status, _, errors = infer()
    assert status == 2
    assert 'which is not installed. Run: pip install "wmh-lora[dicom]"' in errors
