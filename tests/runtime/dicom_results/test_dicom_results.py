"""DICOM results: equal to the other results, and valid."""

import json
import shutil
import subprocess
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from nibabel.affines import apply_affine

from tests.runtime.dicom.head_series import head_images
from tests.runtime.dicom.series_toys import enhanced, person, shuffled, write
from tests.toys import write_toy_bundle
from wmh_runtime import FolderOptions, InferenceOptions, load_bundle, segment_folder
from wmh_runtime.outputs.paths import Extras, output_paths
from wmh_runtime.outputs.sidecar import read_sidecar

OBLIQUE = np.array(
    [[-3.9, 0.5, 0.7, 41.0], [-0.6, -3.95, 0.4, 66.0], [-0.6, -0.4, 4.95, -9.0], [0, 0, 0, 1]]
)
WHO = person("MRN-1", name="Curie^Marie")


def segment(folder: Path, images, toy_bundle, **options):
    """Segment a series; return the paths of its results and its sidecar."""
    write(images, folder / "dicom")
    out = folder / "out"
    extras = Extras(dicom=True, probability=options.pop("probability", False))
    bundle = load_bundle(toy_bundle)
    options = InferenceOptions(backend="onnxruntime", **options)
    outcome = segment_folder(folder / "dicom", out, bundle, options, FolderOptions(extras=extras))
    assert outcome.failed == []
    (case,) = [*outcome.done, *outcome.kept]
    paths = output_paths(out, case.relative, "wmh")
    return paths, read_sidecar(paths.sidecar)


def orthogonal(affine):
    """The nearest affine whose axes are at right angles, as a scanner has them."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    u, _, v = np.linalg.svd(affine[:3, :3] / lengths)
    result = affine.copy()
    result[:3, :3] = u @ v * lengths
    return result


@pytest.fixture
def images(tmp_path):
    return head_images(tmp_path / "nifti", who=WHO, affine=orthogonal(OBLIQUE), lesions=3)


def lesion_points_mm(mask: Path):
    """RAS+ coordinates of the lesion voxels, sorted."""
    image = nib.load(mask)
    return in_order(apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj) > 0)))


def in_order(points):
    return points[np.lexsort(np.round(points, 2).T)]


def frame_points_mm(path: Path):
    """RAS+ coordinates of the segmented pixels, from the attributes of the frames alone."""
    found = pydicom.dcmread(path)
    shared = found.SharedFunctionalGroupsSequence[0]
    directions = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    row_mm, column_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    pixels = found.pixel_array.reshape(-1, found.Rows, found.Columns)
    points = [np.empty((0, 3))]
    for frame, group in zip(pixels, found.PerFrameFunctionalGroupsSequence, strict=True):
        first = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        rows, columns = np.nonzero(frame)
        along = columns[:, None] * directions[:3] * column_mm
        down = rows[:, None] * directions[3:] * row_mm
        points.append((first + along + down) * (-1, -1, 1))
    return in_order(np.concatenate(points))


FORMS = {
    "classic": list,
    "shuffled": shuffled,
    "enhanced": lambda images: enhanced(shuffled(images)),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_segmentation_shows_the_mask_at_its_place(tmp_path, images, toy_bundle, form):
    paths, _ = segment(tmp_path, FORMS[form](images), toy_bundle)
    points = lesion_points_mm(paths.mask)
    assert len(points) == 24  # three lesions of 8 voxels
    np.testing.assert_allclose(frame_points_mm(paths.dicom.segmentation), points, atol=1e-4)


def test_a_tid_1500_reader_reads_the_report(tmp_path, images, toy_bundle):
    dcmqi = pytest.importorskip("dcmqi", reason="dcmqi is not installed")
    paths, sidecar = segment(tmp_path, shuffled(images), toy_bundle)
    program = Path(dcmqi.__file__).parent / "bin" / "tid1500reader"
    read = tmp_path / "report.json"
    command = [program, "--inputDICOM", paths.dicom.report, "--outputMetadata", read]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    (group,) = json.loads(read.read_text())["Measurements"]
    volume, count = group["measurementItems"]
    assert (float(volume["value"]), volume["units"]["CodeValue"]) == (sidecar.volume_ml, "mL")
    assert float(count["value"]) == 3
    assert group["Finding"]["CodeValue"] == "110702"


def test_highdicom_reads_the_mask_back_voxel_for_voxel(tmp_path, images, toy_bundle):
    paths, _ = segment(tmp_path, images, toy_bundle)
    source = hd.get_volume_from_series(images)
    volume = hd.seg.segread(paths.dicom.segmentation).get_volume(combine_segments=True)
    found = volume.match_geometry(source)
    # Frames from the last slice of the file: rows from the top, as highdicom has them.
    mask = nib.load(paths.mask)
    expected = np.asarray(mask.dataobj)[:, ::-1].transpose(2, 1, 0)
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ source.affine
    if to_ras[:3, 0] @ mask.affine[:3, 2] < 0:
        expected = expected[::-1]
    np.testing.assert_array_equal(found.array, expected)


def test_an_independent_program_reads_the_mask_at_its_place(tmp_path, images, toy_bundle):
    dcmqi = pytest.importorskip("dcmqi", reason="dcmqi is not installed")
    paths, _ = segment(tmp_path, images, toy_bundle)
    (tmp_path / "read").mkdir()
    program = Path(dcmqi.__file__).parent / "bin" / "segimage2itkimage"
    command = [program, "--inputDICOM", paths.dicom.segmentation, "-t", "nii"]
    subprocess.run(
        [*map(str, command), "--outputDirectory", str(tmp_path / "read")],
        check=True,
        capture_output=True,
    )
    (found,) = (tmp_path / "read").glob("*.nii.gz")
    np.testing.assert_allclose(lesion_points_mm(found), lesion_points_mm(paths.mask), atol=1e-4)


def test_an_empty_mask_has_frames_without_lesions(tmp_path, toy_bundle):
    paths, sidecar = segment(
        tmp_path, head_images(tmp_path / "nifti", lesions=0, who=WHO), toy_bundle
    )
    assert sidecar.lesion_count == 0
    found = pydicom.dcmread(paths.dicom.segmentation)
    assert found.NumberOfFrames == 6
    assert not found.pixel_array.any()
    assert measured(paths) == {"Volume": 0.0, "Number of lesions (observable entity)": 0.0}


def test_the_probability_is_stored_in_steps_of_a_255th(tmp_path, images, toy_bundle):
    paths, _ = segment(tmp_path, images, toy_bundle, probability=True)
    volume = hd.seg.segread(paths.dicom.probability).get_volume(
        segment_numbers=[1], rescale_fractional=True, dtype=np.float32
    )
    expected = np.asarray(nib.load(paths.probability).dataobj)
    found = np.sort(volume.array.ravel())
    stored = np.sort(expected.ravel())[-found.size :]  # frames without any are not stored
    np.testing.assert_allclose(found, stored, atol=0.5 / 255 + 1e-6)
    assert found.max() > 0.7


def groups_of(paths):
    """The measurement groups of the report."""
    report = hd.sr.srread(paths.dicom.report)
    volumetric = report.content.get_volumetric_roi_measurement_groups()
    return report, volumetric


def measured(paths):
    _, (group,) = groups_of(paths)
    return {one.name.meaning: float(one.value) for one in group.get_measurements()}


def test_the_report_has_volume_and_count_of_the_sidecar(tmp_path, images, toy_bundle):
    paths, sidecar = segment(tmp_path, images, toy_bundle)
    assert measured(paths) == {
        "Volume": sidecar.volume_ml,
        "Number of lesions (observable entity)": 3.0,
    }
    # 24 voxels of the oblique grid
    voxel_mm3 = abs(np.linalg.det(orthogonal(OBLIQUE)[:3, :3]))
    assert sidecar.volume_ml == pytest.approx(24 * voxel_mm3 / 1000, abs=1e-4)


def test_the_report_says_what_was_found_and_in_which_segment(tmp_path, images, toy_bundle):
    paths, _ = segment(tmp_path, images, toy_bundle)
    report, (group,) = groups_of(paths)
    assert group.finding_type.value == "110702"
    assert group.finding_type.scheme_designator == "DCM"
    segmentation = pydicom.dcmread(paths.dicom.segmentation)
    assert group.referenced_segment.referenced_sop_instance_uid == segmentation.SOPInstanceUID
    comments = [
        item.TextValue
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "121106"
    ]
    assert comments[0].startswith("Research use only. Not a medical device")


def test_results_belong_to_the_study_and_patient_of_the_series(tmp_path, images, toy_bundle):
    paths, _ = segment(tmp_path, images, toy_bundle)
    files = (paths.dicom.segmentation, paths.dicom.report, paths.dicom.picture)
    for found in map(pydicom.dcmread, files):
        assert found.StudyInstanceUID == images[0].StudyInstanceUID
        assert found.PatientID == "MRN-1"
        assert found.PatientName == "Curie^Marie"
        assert found.SeriesInstanceUID != images[0].SeriesInstanceUID
        assert "research use only" in found.SeriesDescription
    numbers = [pydicom.dcmread(file).SeriesNumber for file in files]
    assert numbers == [5001, 5002, 5003]


@pytest.mark.parametrize(
    "name",
    [
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
        *("StudyID", "AccessionNumber", "ReferringPhysicianName", "SliceThickness"),
        *("FrameOfReferenceUID", "BodyPartExamined", "SpecificCharacterSet", "Manufacturer"),
    ],
)
def test_an_attribute_may_be_missing_as_in_anonymized_files(tmp_path, images, toy_bundle, name):
    for image in images:
        delattr(image, name)
    paths, _ = segment(tmp_path, images, toy_bundle)
    assert all(path.is_file() for path in (paths.dicom.segmentation, paths.dicom.report))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PatientBirthDate", "1970.01.01"),
        ("StudyTime", "12:00:00"),
        ("PatientSex", "female"),
        ("StudyDate", "2024"),
        ("StudyDate", "00000000"),
        ("StudyTime", "256199"),
    ],
)
def test_an_invalid_value_is_left_out_of_the_results(tmp_path, images, toy_bundle, name, value):
    for image in images:
        image[name]._value = value
    paths, _ = segment(tmp_path, images, toy_bundle)
    assert pydicom.dcmread(paths.dicom.segmentation)[name].value in ("", None)


def test_two_outputs_have_results_of_their_own(tmp_path, images):
    bundle = write_toy_bundle(tmp_path / "two", outputs=("wmh", "other"))
    _, first = segment(tmp_path, images, bundle, threshold=1.0)
    assert first.lesion_count == 0  # two empty masks, equal byte for byte
    found = [pydicom.dcmread(path) for path in sorted((tmp_path / "out").glob("*.dcm"))]
    assert len(found) == 6
    assert len({one.SOPInstanceUID for one in found}) == 6
    assert len({one.SeriesInstanceUID for one in found}) == 6
    assert {one.SeriesNumber for one in found} == {5001, 5002, 5003, 5011, 5012, 5013}


@pytest.mark.parametrize(("number", "expected"), [(3_000_000, 9001), (None, 9001), (7, 7001)])
def test_the_number_of_the_series_is_one_that_dicom_allows(
    tmp_path, images, toy_bundle, number, expected
):
    for image in images:
        image.SeriesNumber = number
    paths, _ = segment(tmp_path, images, toy_bundle)
    assert pydicom.dcmread(paths.dicom.segmentation).SeriesNumber == expected


def test_slices_that_are_a_little_beside_one_another_have_a_segmentation(
    tmp_path, images, toy_bundle
):
    for index, image in enumerate(images):
        x, y, z = image.ImagePositionPatient
        image.ImagePositionPatient = [float(x) + 0.015 * index, y, z]
    paths, _ = segment(tmp_path, images, toy_bundle)
    points = lesion_points_mm(paths.mask)
    np.testing.assert_allclose(frame_points_mm(paths.dicom.segmentation), points, atol=0.1)


def test_neither_failure_nor_log_has_a_value_of_a_header(tmp_path, images, toy_bundle):
    for image in images:
        image["ImagePositionPatient"] = pydicom.DataElement(
            "ImagePositionPatient", "LO", "Curie 1867"
        )
    write(images, tmp_path / "dicom")
    out = tmp_path / "out"
    options = FolderOptions(series="5", extras=Extras(dicom=True))
    inference = InferenceOptions(backend="onnxruntime")
    outcome = segment_folder(tmp_path / "dicom", out, load_bundle(toy_bundle), inference, options)
    assert len(outcome.failed) == 1
    said = "".join(str(error) for _, error in outcome.failed)
    for path in (*out.glob("*.csv"), *out.glob("*.log")):
        said += path.read_text()
    assert "Curie" not in said
    assert "1867" not in said


def test_the_segmentation_says_what_made_it(tmp_path, images, toy_bundle):
    paths, sidecar = segment(tmp_path, images, toy_bundle)
    (segment_,) = pydicom.dcmread(paths.dicom.segmentation).SegmentSequence
    assert segment_.SegmentAlgorithmType == "AUTOMATIC"
    assert segment_.SegmentedPropertyTypeCodeSequence[0].CodeValue == "110702"
    (algorithm,) = segment_.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "wmh-lora"
    assert f"model_id={sidecar.settings.model_id}" in algorithm.AlgorithmParameters


def test_the_picture_is_the_quality_control_image(tmp_path, images, toy_bundle):
    from PIL import Image

    paths, _ = segment(tmp_path, images, toy_bundle)
    with Image.open(paths.picture) as picture:
        expected = np.array(picture.convert("RGB"))
    np.testing.assert_array_equal(pydicom.dcmread(paths.dicom.picture).pixel_array, expected)


def test_the_same_result_has_the_same_uids_and_another_one_has_others(tmp_path, images, toy_bundle):
    def uids(folder, **options):
        paths, _ = segment(tmp_path / folder, images, toy_bundle, **options)
        return [pydicom.dcmread(file).SOPInstanceUID for file in paths.dicom.files[::2]]

    first = uids("one")
    assert uids("two") == first
    assert not {*uids("three", threshold=0.9)} & {*first}


def test_results_that_are_missing_are_written_in_the_next_run(tmp_path, images, toy_bundle):
    paths, _ = segment(tmp_path, images, toy_bundle)
    before = pydicom.dcmread(paths.dicom.segmentation).SOPInstanceUID
    paths.dicom.report.unlink()
    segment(tmp_path, images, toy_bundle)
    assert paths.dicom.report.is_file()
    assert pydicom.dcmread(paths.dicom.segmentation).SOPInstanceUID == before


def test_a_mask_that_was_corrected_is_not_called_automatic(tmp_path, images, toy_bundle):
    paths, _ = segment(tmp_path, images, toy_bundle)
    manual = tmp_path / "dicom" / "derivatives" / "manual" / paths.mask.name
    manual.parent.mkdir(parents=True)
    shutil.copy(paths.mask, manual)
    paths, sidecar = segment(tmp_path, images, toy_bundle)
    assert sidecar.manual is not None
    (segment_,) = pydicom.dcmread(paths.dicom.segmentation).SegmentSequence
    assert segment_.SegmentAlgorithmType == "SEMIAUTOMATIC"


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("form", ["classic", "enhanced"])
def test_dciodvfy_finds_no_error(tmp_path, images, toy_bundle, form):
    paths, _ = segment(tmp_path, FORMS[form](images), toy_bundle, probability=True)
    for file in paths.dicom.files:
        done = subprocess.run(["dciodvfy", file], capture_output=True, text=True)
        assert "Error" not in done.stdout + done.stderr, done.stderr


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed")
def test_dciodvfy_finds_an_error_that_is_there(tmp_path, images, toy_bundle):
    paths, _ = segment(tmp_path, images, toy_bundle)
    broken = pydicom.dcmread(paths.dicom.segmentation)
    del broken.SegmentSequence[0].SegmentedPropertyTypeCodeSequence
    broken.save_as(tmp_path / "broken.dcm")
    done = subprocess.run(["dciodvfy", tmp_path / "broken.dcm"], capture_output=True, text=True)
    assert "Error" in done.stdout + done.stderr
