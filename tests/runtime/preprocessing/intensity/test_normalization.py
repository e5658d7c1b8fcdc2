import numpy as np
import pytest

from tests.runtime.preprocessing.heads import head_in_noise
from wmh_runtime.preprocessing.intensity.normalization import normalize as normalize_measured
from wmh_runtime.preprocessing.intensity.normalization import normalize_to_percentiles


def normalize(stack, head, clip_percentiles):
    """Normalize a stack without background."""
    return normalize_measured(stack, head, np.zeros_like(head), clip_percentiles)


def test_the_normalized_head_has_mean_0_and_standard_deviation_1():
    image, ellipse = head_in_noise()
    normalized = normalize(image, ellipse, (0.5, 99.5))
    assert normalized.dtype == np.float32
    assert normalized[ellipse].mean(dtype=np.float64) == pytest.approx(0, abs=1e-6)
    assert normalized[ellipse].std(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert not normalized[~ellipse].any()


def test_normalization_does_not_depend_on_the_intensity_scale():
    image, ellipse = head_in_noise()
    np.testing.assert_allclose(
        normalize(3 * image + 7, ellipse, (0.5, 99.5)),
        normalize(image, ellipse, (0.5, 99.5)),
        atol=1e-4,
    )


def test_normalized_values():
    # Clipped to percentiles 0 and 100: unchanged. Mean 4, variance (9 + 1 + 1 + 9) / 4 = 5.
    stack = np.array([[[1, 3, 5, 7, 99]]], np.float32)
    head = np.array([[[True, True, True, True, False]]])
    expected = np.array([[[-3, -1, 1, 3, 0]]]) / np.sqrt(5)
    np.testing.assert_allclose(normalize(stack, head, (0, 100)), expected, atol=1e-6)


def test_a_head_with_a_single_intensity_gives_zeros_not_nan():
    stack = np.full((1, 2, 2), 5, np.float32)
    assert not normalize(stack, stack > 0, (0.5, 99.5)).any()


@pytest.mark.parametrize("value", [-1e9, 1e9, 2500, -1000])
def test_a_damaged_voxel_gets_the_median_of_its_neighbors(value):
    # The head has the intensities 100 to 900, so its inner range is about 116 to 884.
    image = np.linspace(100, 900, 400, dtype=np.float32).reshape(4, 10, 10)
    head = np.ones(image.shape, bool)
    damaged = image.copy()
    damaged[1, 4, 5] = value
    repaired = image.copy()  # the 8 neighbors are symmetric: their median is the voxel itself
    np.testing.assert_allclose(
        normalize(damaged, head, (0.5, 99.5)), normalize(repaired, head, (0.5, 99.5)), atol=1e-3
    )


def test_a_group_of_bright_voxels_is_no_damage():
    image = np.linspace(100, 900, 400, dtype=np.float32).reshape(4, 10, 10)
    image[1, 3:6, 4:7] = 3000
    normalized = normalize(image, np.ones(image.shape, bool), (0, 100))
    assert (normalized[1, 3:6, 4:7] == normalized.max()).all()


@pytest.mark.parametrize("value", [-10, 0, 4])
def test_background_in_the_head_counts_as_the_lowest_intensity(value):
    # The last voxel is a hole: background cannot reach it. Six voxels 1, 1, 3, 5, 7, 1: mean 3,
    # variance (4 + 4 + 0 + 4 + 16 + 4) / 6 = 16 / 3.
    stack = np.array([[[value, 1, 3, 5, 7, value]]], np.float32)
    background = np.array([[[True, False, False, False, False, False]]])
    normalized = normalize_measured(stack, np.ones_like(background), background, (0, 100))
    expected = np.array([[[-2, -2, 0, 2, 4, -2]]]) / np.sqrt(16 / 3)
    np.testing.assert_allclose(normalized, expected, atol=1e-6)


def test_two_percentiles_become_0_and_1():
    # 101 intensities 200, 202, … 400: percentile p is 200 + 2 p. The last voxel is outside.
    stack = np.append(np.arange(200, 401, 2), 999).astype(np.float32).reshape(1, 1, 102)
    head, background = stack < 999, np.zeros(stack.shape, bool)
    normalized = normalize_to_percentiles(stack, head, background, (0, 98))
    assert normalized.dtype == np.float32
    expected = np.minimum(np.arange(101) / 98, 1)
    np.testing.assert_allclose(normalized[0, 0], [*expected, 0], atol=1e-6)
    normalized = normalize_to_percentiles(stack, head, background, (0, 100))
    np.testing.assert_allclose(normalized[0, 0], [*np.arange(101) / 100, 0], atol=1e-6)
    normalized = normalize_to_percentiles(stack, head, background, (10, 60))
    np.testing.assert_allclose(normalized[0, 0, [0, 10, 35, 60, 100]], [0, 0, 0.5, 1, 1], atol=1e-6)


@pytest.mark.parametrize("value", [-10, 0, 4])
def test_background_in_the_head_is_0_between_percentiles(value):
    stack = np.array([[[value, 1, 3, 5, 7, value]]], np.float32)
    background = np.array([[[True, False, False, False, False, False]]])
    normalized = normalize_to_percentiles(stack, np.ones_like(background), background, (0, 100))
    np.testing.assert_allclose(normalized, [[[0, 0, 1 / 3, 2 / 3, 1, 0]]], atol=1e-6)


def test_a_damaged_voxel_does_not_stretch_the_range():
    image = np.linspace(100, 900, 400, dtype=np.float32).reshape(4, 10, 10)
    head, none = np.ones(image.shape, bool), np.zeros(image.shape, bool)
    damaged = image.copy()
    damaged[1, 4, 5] = 1e9
    np.testing.assert_allclose(
        normalize_to_percentiles(damaged, head, none, (0, 100)), (image - 100) / 800, atol=1e-4
    )


def test_equal_percentiles_give_zeros_not_nan():
    stack = np.full((1, 2, 2), 5, np.float32)
    head = stack > 0
    assert not normalize_to_percentiles(stack, head, ~head, (0, 98)).any()
