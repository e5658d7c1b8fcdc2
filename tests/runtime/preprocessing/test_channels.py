"""Channels that are missing, or on another grid."""

import numpy as np
import pytest

from tests.toys import as_scan
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.regrid import bring_to_grid
from wmh_runtime.preprocessing.channels import (
    channel_subsets,
    overlap_warnings,
    presence_weights,
)
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess

AFFINE = np.diag([-1.2, -1.0, 3.0, 1.0])
PREPROCESSING = Preprocessing(pixel_size_mm=2.0, size_px=64)


def head(seed=0):
    """An ellipsoid with noise and a pattern in a volume of 80 × 90 × 24 voxels."""
    x, y, z = np.ogrid[-40:40, -45:45, -12:12]
    voxels = np.random.default_rng(seed).normal(0, 1, (80, 90, 24)).clip(0)
    voxels[(x / 35) ** 2 + (y / 40) ** 2 + (z / 11) ** 2 <= 1] += 100
    return voxels * (1 + 0.3 * np.sin(x / 8) * np.cos(y / 9))


def test_subsets_of_channels():
    assert channel_subsets(2, interchangeable=False) == [(True, True)]
    assert channel_subsets(2, interchangeable=True) == [
        (True, True),
        (True, False),
        (False, True),
    ]
    assert len(channel_subsets(3, interchangeable=True)) == 7


def test_all_planes_of_a_missing_channel_are_left_out():
    assert presence_weights((True, False), 1).tolist() == [1, 1, 1, 0, 0, 0]


def test_a_missing_channel_is_zero_and_the_first_that_is_there_has_the_grid():
    flair, t1 = as_scan(head(), AFFINE, "flair.nii"), as_scan(head(1), AFFINE, "t1.nii")
    both = preprocess([flair, t1], PREPROCESSING)
    for index, given in enumerate(([flair, None], [None, t1])):
        alone = preprocess(given, PREPROCESSING)
        assert alone.scan is given[index]
        assert not alone.slices[:, 1 - index].any()
        assert alone.slices[:, index].any()
    np.testing.assert_array_equal(
        preprocess([flair, None], PREPROCESSING).slices[:, 0], both.slices[:, 0]
    )


def test_no_channel_at_all_is_refused():
    with pytest.raises(InputError, match="no image is given"):
        preprocess([None, None], PREPROCESSING)


def test_a_channel_on_another_grid_is_nearly_the_same_after_resampling():
    # The same head as a sagittal image with other voxels: 240 × 0.6 mm, 90 × 1 mm, 24 × 3 mm.
    flair = as_scan(head(), AFFINE, "flair.nii")
    fine = np.diag([-0.6, -1.0, 3.0, 1.0])
    fine[0, 3] = 0.3
    voxels = np.repeat(head(1), 2, axis=0)
    turned = as_scan(voxels.transpose(1, 2, 0), fine[:, [1, 2, 0, 3]], "t1.nii")
    aligned = preprocess([flair, as_scan(head(1), AFFINE)], PREPROCESSING)
    resampled = preprocess([flair, turned], PREPROCESSING)
    assert resampled.warnings == aligned.warnings == ()
    difference = abs(resampled.slices - aligned.slices)[:, 1]
    assert np.percentile(difference, 95) < 0.05


def test_a_channel_that_shows_another_part_has_warnings_with_numbers():
    flair = as_scan(head(), AFFINE, "flair.nii")
    far = AFFINE.copy()
    far[0, 3] = 30  # 30 mm to the right: 25 of 80 columns of the grid are outside
    t1 = as_scan(head(), far, "t1.nii")
    apart, covers = overlap_warnings(bring_to_grid(t1, flair), flair, head() > 50)
    assert apart.startswith("the centers of t1.nii and flair.nii are 30 mm apart")
    share = np.count_nonzero((head() > 50)[:55]) / np.count_nonzero(head() > 50)
    assert share < 0.9
    assert covers.startswith(f"t1.nii covers {share:.1%} of the head in flair.nii")
    assert apart in preprocess([flair, t1], PREPROCESSING).warnings


def test_an_image_of_another_head_has_a_warning_with_the_similarity():
    flair = as_scan(head(), AFFINE, "flair.nii")
    other = np.random.default_rng(5).permutation(head(1).ravel()).reshape(head(1).shape)
    (warning,) = preprocess([flair, as_scan(other, AFFINE, "t1.nii")], PREPROCESSING).warnings
    assert warning.startswith("the similarity of t1.nii and flair.nii is 0.0")
    assert "expected 0.1 or more: check that they are of one person" in warning
    assert preprocess([flair, as_scan(head(1), AFFINE)], PREPROCESSING).warnings == ()


def test_a_copy_of_the_first_image_has_a_warning_with_the_similarity():
    flair = as_scan(head(), AFFINE, "flair.nii")
    copy = as_scan(2 * head() + 5, AFFINE, "t1.nii")
    (warning,) = preprocess([flair, copy], PREPROCESSING).warnings
    assert warning.endswith("is 1.00, expected 0.8 or less: check that they are two contrasts")


def test_a_channel_of_another_place_is_refused():
    flair = as_scan(head(), AFFINE, "flair.nii")
    elsewhere = AFFINE.copy()
    elsewhere[2, 3] = 500
    with pytest.raises(InputError, match=r"shows nothing of the head in flair\.nii"):
        preprocess([flair, as_scan(head(1), elsewhere, "t1.nii")], PREPROCESSING)
