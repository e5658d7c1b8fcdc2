"""The volume of a series: equal to what was written, and to dcm2niix."""

import subprocess

import nibabel as nib
import numpy as np
import pytest
from dcm2niix import bin as dcm2niix_program
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.dicom.series_toys import (
    SHAPE,
    compress,
    copy_of,
    enhanced,
    from_nifti,
    legacy_enhanced,
    oblique_affine,
    only_series,
    shuffled,
    toy_series,
    voxels,
    write,
    write_big_endian,
)
from wmh_runtime.dicom import scan_files
from wmh_runtime.dicom.pixels import read_voxels
from wmh_runtime.dicom.scan_files import open_volume
from wmh_runtime.dicom.selection import Choice
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import read_scan


def convert(folder, scan, *warnings):
    return scan_files.convert(Choice(only_series(folder), "a reason", warnings), scan, str)


def read(folder):
    """Return voxels, affine and warnings of the only series of a folder."""
    volume, pixels = open_volume(only_series(folder))
    return read_voxels(volume.stack, pixels), volume.stack.affine, volume.warnings


def assert_is_toy(folder, affine=None):
    """The toy series, with its second axis turned, since it runs up the columns."""
    affine = oblique_affine() if affine is None else affine
    stored, found, _ = read(folder)
    expected = voxels()[:, ::-1]
    corners = np.array([(0, 0, 0, 1), (6, 0, 0, 1), (0, 4, 0, 1), (0, 0, 3, 1)]).T
    turned = np.array([(0, 4, 0, 1), (6, 4, 0, 1), (0, 0, 0, 1), (0, 4, 3, 1)]).T
    if (found @ corners - affine @ turned).__abs__().max() > 1e-6:  # the slices run the other way
        expected = expected[:, :, ::-1]
        turned[2] = 3 - turned[2]
    np.testing.assert_allclose(found @ corners, affine @ turned, atol=1e-6)
    np.testing.assert_array_equal(stored, expected)


def big_endian(folder):
    write_big_endian(toy_series(), folder)


def lossless_jpeg(folder):
    compress(write(toy_series(), folder))


FORMS = {
    "classic": lambda folder: write(toy_series(), folder),
    "shuffled": lambda folder: write(shuffled(toy_series()), folder),
    "a slice twice": lambda folder: write([*(i := toy_series()), copy_of(i[2])], folder),
    "a file twice": lambda folder: write([*(i := toy_series()), i[2]], folder),
    "big endian": big_endian,
    "lossless JPEG": lossless_jpeg,
    "enhanced": lambda folder: write(enhanced(shuffled(toy_series())), folder),
    "legacy enhanced": lambda folder: write(legacy_enhanced(toy_series()), folder),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_series_in_any_form_is_the_volume_that_was_written(tmp_path, form):
    FORMS[form](tmp_path / "series")
    assert_is_toy(tmp_path / "series")


@settings(max_examples=30)
@given(
    st.tuples(*[st.floats(-170, 170)] * 3),
    st.tuples(*[st.floats(0.4, 6)] * 3),
    st.permutations(range(SHAPE[2])),
)
def test_any_orientation_and_order_of_files(tmp_path_factory, degrees, spacing_mm, order):
    folder = tmp_path_factory.mktemp("series")
    affine = oblique_affine(degrees, spacing_mm)
    images = toy_series(affine)
    write([images[index] for index in order], folder)
    assert_is_toy(folder, affine)


def test_scaled_values_are_computed_in_float32(tmp_path):
    images = toy_series()
    for index, image in enumerate(images):
        image.RescaleSlope, image.RescaleIntercept = str(0.5 + index), "-3"
    stored, _, _ = read(write(images, tmp_path))
    # Written from the first slice at the top of the head: slopes 0.5 to 3.5 in either order.
    raw = voxels()[:, ::-1]
    expected = np.stack([raw[..., k] * (0.5 + k) - 3 for k in range(4)], axis=-1)
    assert stored.dtype == np.float32
    assert any(np.array_equal(stored, one) for one in (expected, expected[..., ::-1]))


def test_a_repeated_slice_is_a_warning(tmp_path):
    images = toy_series()
    assert read(write([*images, copy_of(images[1])], tmp_path))[2] == (
        "series 5: 1 image twice in the series, used once",
    )


def test_few_images_of_another_orientation_are_left_out_with_a_warning(tmp_path):
    localizer = toy_series(oblique_affine((90, 0, 0)))[0]
    images = toy_series()
    localizer.SeriesInstanceUID = images[0].SeriesInstanceUID
    localizer.StudyInstanceUID = images[0].StudyInstanceUID
    write([localizer, *images], tmp_path)
    assert_is_toy(tmp_path)
    assert read(tmp_path)[2] == (
        "series 5: 1 image of another orientation, size, echo or kind left out of the series",
    )


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"ImagesInAcquisition": 6}, "series 5: has 4 slices, but the scanner acquired 6"),
        (
            {"first number": 3},
            "series 5: its images are numbered from 3 on: slices may be missing",
        ),
    ],
)
def test_slices_that_may_be_missing_at_the_ends_are_a_warning(tmp_path, change, warning):
    images = toy_series()
    for index, image in enumerate(images):
        image.InstanceNumber = change.get("first number", 1) + index
        if "ImagesInAcquisition" in change:
            image.ImagesInAcquisition = 6
    assert read(write(images, tmp_path))[2] == (warning,)


def missing_slice(images):
    del images[2]
    return images


def other_pixels(images):
    other = copy_of(images[1])
    other.InstanceNumber = 9
    other.PixelData = bytes(len(other.PixelData))
    return [*images, other]


def two_stacks(images):
    others = toy_series(oblique_affine((90, 0, 0)))
    for other in others:
        other.SeriesInstanceUID = images[0].SeriesInstanceUID
        other.StudyInstanceUID = images[0].StudyInstanceUID
    return [*images, *others]


def uneven(images):
    x, y, z = images[0].ImagePositionPatient
    images[0].ImagePositionPatient = [x, y, float(z) - 1]
    return images


def shifted(images):
    x, y, z = images[2].ImagePositionPatient
    images[2].ImagePositionPatient = [float(x) + 2, y, z]
    return images


def without_position(images):
    for image in images:
        del image.ImagePositionPatient
    return images


def damaged_pixels(images):
    images[2].PixelData = images[2].PixelData[:-8]
    return images


def with_table(images):
    for image in images:
        image.PhotometricInterpretation = "MONOCHROME1"
    return images


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            missing_slice,
            "series 5 lacks 1 slice: slices are 4.00 mm apart, but image 2 and image 4 are 8.00 mm."
            " Send the whole series again.",
        ),
        (
            other_pixels,
            "series 5 has two images at one position with different pixels, such as image 2 and"
            " image 9. Give a series that holds one volume only.",
        ),
        (
            two_stacks,
            "series 5 has 2 stacks of images that differ in orientation, size, echo or kind (of 4"
            " and 4 images). Give a series that holds one volume only.",
        ),
        (uneven, "series 5 has slices at uneven distances, 4.00 to 5.00 mm."),
        (shifted, "series 5 has slices that are shifted sideways, image 3 by 2.0 mm."),
        (without_position, "series 5 has images without a position in the patient, such as image"),
        (with_table, "series 5 is stored as MONOCHROME1 (image 1), expected MONOCHROME2"),
        (damaged_pixels, "series 5 has pixels that cannot be decoded, of image 3 ("),
        (lambda images: images[:2], "series 5 has 2 slices, expected 3 at least."),
    ],
)
def test_a_series_that_is_no_volume_is_refused_in_one_line(tmp_path, change, message):
    write(change(toy_series(oblique_affine((0, 0, 0)))), tmp_path / "series")
    with pytest.raises(InputError) as caught:
        convert(tmp_path / "series", tmp_path / "scan.nii.gz")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "scan.nii.gz").exists()


def dcm2niix(folder, out):
    out.mkdir()
    command = [dcm2niix_program, "-o", out, "-f", "scan", "-z", "n", "-b", "n", folder]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    (image,) = out.glob("*.nii")
    return nib.load(image)


REAL = (
    "open-ms/clinical/sub-L01/sub-L01_ses-1_FLAIR.nii.gz",
    "open-ms/clinical/sub-L03/sub-L03_ses-1_FLAIR.nii.gz",
    "open-ms/clinical/sub-L20/sub-L20_ses-2_FLAIR.nii.gz",
    "ms3seg/sub-T01/sub-T01_FLAIR.nii.gz",
)


@pytest.mark.parametrize("scan", REAL)
def test_a_real_scan_is_what_dcm2niix_makes_of_it(tmp_path, test_data, scan):
    write(shuffled(from_nifti(test_data / scan)), tmp_path / "series")
    convert(tmp_path / "series", tmp_path / "scan.nii.gz")
    assert_same_scan(
        read_scan(tmp_path / "scan.nii.gz"), dcm2niix(tmp_path / "series", tmp_path / "o")
    )


@pytest.mark.parametrize("form", ["enhanced", "big endian", "lossless JPEG"])
def test_other_forms_of_a_real_scan_are_what_dcm2niix_makes_of_them(tmp_path, test_data, form):
    images = from_nifti(test_data / REAL[3])
    folder = tmp_path / "series"
    if form == "enhanced":
        write(enhanced(images), folder)
    elif form == "big endian":
        write_big_endian(images, folder)
    else:
        compress(write(images, folder))
    convert(folder, tmp_path / "scan.nii.gz")
    assert_same_scan(read_scan(tmp_path / "scan.nii.gz"), dcm2niix(folder, tmp_path / "o"))


def assert_same_scan(ours, theirs):
    """dcm2niix computes the step between slices in float32, so its origin is less exact."""
    np.testing.assert_array_equal(ours.voxels, np.asarray(theirs.dataobj, np.float32))
    np.testing.assert_allclose(ours.affine[:3, :3], theirs.affine[:3, :3], atol=1e-5)
    np.testing.assert_allclose(ours.affine[:3, 3], theirs.affine[:3, 3], atol=1e-3)


def test_a_scan_that_is_there_is_kept_with_its_warnings(tmp_path):
    images = toy_series()
    write([*images, copy_of(images[1])], tmp_path / "series")
    scan = tmp_path / "scan.nii.gz"
    twice = "series 5: 1 image twice in the series, used once"
    assert convert(tmp_path / "series", scan, "about") == ("about", twice)
    scan.write_bytes(b"kept")
    assert convert(tmp_path / "series", scan, "another") == ("another", twice)
    assert scan.read_bytes() == b"kept"
    (tmp_path / "series" / "0005.dcm").unlink()
    assert convert(tmp_path / "series", scan) == ()
    assert scan.read_bytes() != b"kept"
