"""The level of white matter, and intensities relative to it."""

import edt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.preprocessing.head_mask import find_head
from wmh_runtime.preprocessing.intensity.normalization import normalize_to_white_matter
from wmh_runtime.preprocessing.intensity.white_matter import find_levels

SPACING_MM = (4.0, 2.0, 2.0)


def ball(center, radius_mm, shape=(40, 100, 100)):
    grid = np.indices(shape).T * SPACING_MM - np.multiply(center, SPACING_MM)
    return (np.linalg.norm(grid, axis=-1) <= radius_mm).T


def head(fat=0.5, neck=1.0):
    """White matter 1, cortex 1.2, ventricles 0.1, skull 0.05, fat around it, neck below."""
    rng = np.random.default_rng(0)
    center = (22, 50, 50)
    image = np.zeros((40, 100, 100), np.float32)
    image[ball(center, 85)] = fat
    image[ball(center, 78)] = 0.05
    image[ball(center, 72)] = 1.2
    image[ball(center, 66)] = 1.0
    image[ball(center, 20)] = 0.1
    image[:4, 30:70, 30:70] = neck
    image += 0.02 * rng.standard_normal(image.shape, np.float32) * (image > 0)
    return image.astype(np.float32)


@pytest.mark.parametrize("fat", [0.1, 1.0, 4.0])
def test_white_matter_is_found_whatever_the_fat(fat):
    image = head(fat)
    inside = image != 0
    levels = find_levels(image, inside, inside, SPACING_MM)
    assert levels.white == pytest.approx(1, abs=0.03)
    assert levels.dark == pytest.approx(0.05, abs=0.06)


def test_large_ventricles_are_not_white_matter():
    image = head()
    image[ball((22, 50, 50), 45)] = 0.1
    inside = image != 0
    assert find_levels(image, inside, inside, SPACING_MM).white == pytest.approx(1, abs=0.03)


@settings(max_examples=5)
@given(factor=st.floats(1e-3, 1e3), offset=st.floats(-5, 5))
def test_factor_and_offset_do_not_matter(factor, offset):
    image = head()
    inside, none = image != 0, np.zeros(image.shape, bool)
    expected = normalize_to_white_matter(image, inside, none, SPACING_MM)
    changed = ((image + offset) * factor).astype(np.float32)
    result = normalize_to_white_matter(changed, inside, none, SPACING_MM)
    np.testing.assert_allclose(result, expected, atol=0.02)


def test_dark_is_0_white_matter_is_1_and_the_rest_is_between_0_and_3():
    image = head(fat=8.0)
    inside = image != 0
    result = normalize_to_white_matter(image, inside, np.zeros_like(inside), SPACING_MM)
    assert np.median(result[ball((22, 50, 50), 60) & ~ball((22, 50, 50), 25)]) == pytest.approx(
        1, abs=0.03
    )
    assert np.median(result[ball((22, 50, 50), 15)]) == pytest.approx(0.1, abs=0.06)
    assert (result.min(), result.max()) == (0, 3)
    assert not result[~inside].any()


def test_a_constant_head_gives_zeros():
    image = np.full((3, 4, 4), 7, np.float32)
    inside = np.ones(image.shape, bool)
    result = normalize_to_white_matter(image, inside, ~inside, SPACING_MM)
    assert not result.any()


def test_background_in_the_head_is_dark():
    image = head()
    image[20, 40:50, 60:62] = 9
    inside = image != 0
    background = image == 9
    result = normalize_to_white_matter(image, inside, background, SPACING_MM)
    assert not result[background].any()


def test_white_matter_of_real_scans_is_found(test_data):
    # Between the ventricles and the cortex, 4 to 12 mm from the ventricles, without lesions.
    for subject in ("sub-T01", "sub-T05", "sub-T07"):
        folder = test_data / "ms3seg" / subject
        scan = read_scan(folder / f"{subject}_FLAIR.nii.gz")
        lesions, ventricles = (
            read_scan(folder / f"{subject}_label-{name}_mask.nii.gz", allow_constant=True).voxels
            > 0
            for name in ("WMH", "ventricles")
        )
        reorientation = axial_reorientation(scan.affine)
        stack = np.ascontiguousarray(reorientation.apply(scan.voxels))
        spacing_mm = tuple(scan.spacing_mm[axis] for axis in reorientation.axes)
        inside = find_head(stack, scan.voxel_volume_mm3).mask
        from_ventricles_mm = edt.edt(~ventricles, anisotropy=scan.spacing_mm)
        from_lesions_mm = edt.edt(~lesions, anisotropy=scan.spacing_mm)
        normal = (from_ventricles_mm > 4) & (from_ventricles_mm < 12) & (from_lesions_mm > 3)
        expected = np.median(scan.voxels[normal])
        levels = find_levels(stack, inside, inside, spacing_mm)
        assert levels.white == pytest.approx(expected, rel=0.05)
