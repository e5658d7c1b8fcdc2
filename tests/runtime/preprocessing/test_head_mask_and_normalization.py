import numpy as np
import pytest

from wmh_runtime.preprocessing.head_mask import head_mask, otsu_threshold
from wmh_runtime.preprocessing.normalization import normalize


def head_in_noise(shape=(6, 60, 50), noise=20.0, seed=0):
    """A bright ellipse with a dark hole, in air with Rayleigh noise; returns image and ellipse."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: shape[1], : shape[2]]
    ellipse = ((rows - 30) / 24) ** 2 + ((columns - 24) / 18) ** 2 <= 1
    hole = ((rows - 30) / 8) ** 2 + ((columns - 24) / 5) ** 2 <= 1
    clean = np.broadcast_to(400.0 * (ellipse & ~hole), shape)
    noisy = np.hypot(clean + rng.normal(0, noise, shape), rng.normal(0, noise, shape))
    return noisy.astype(np.float32), np.broadcast_to(ellipse, shape)


def test_otsu_threshold_is_between_two_values():
    values = np.array([10.0] * 700 + [90.0] * 300)
    assert 10 <= otsu_threshold(values) < 90


def test_a_few_very_bright_voxels_do_not_change_otsu():
    values = np.random.default_rng(0).normal(np.repeat([10.0, 90.0], 5000), 5)
    bright = np.append(values, [1e6] * 5)
    assert otsu_threshold(bright) == pytest.approx(otsu_threshold(values), abs=5)


def test_the_head_in_noise_includes_its_dark_inside():
    image, ellipse = head_in_noise()
    head = head_mask(image, voxel_volume_mm3=3.0)
    assert np.count_nonzero(head != ellipse) < 0.02 * np.count_nonzero(ellipse)
    assert head[:, 30, 24].all()  # the middle of the hole


def test_a_dark_scalp_around_a_bright_brain_belongs_to_the_head():
    # Fat suppression: the scalp has 30 % of the intensity of the brain, below Otsu's threshold.
    image, ellipse = head_in_noise(noise=5.0)
    scalp = np.zeros_like(ellipse)
    scalp[:, 2:58, 2:46] = True
    image = np.where(scalp & ~ellipse, 120, image).astype(np.float32)
    assert head_mask(image, voxel_volume_mm3=3.0)[:, 3:57, 3:45].all()


def test_bright_specks_in_the_air_are_not_head():
    image, _ = head_in_noise()
    without_specks = head_mask(image, voxel_volume_mm3=3.0)
    image[0, 1, 1] = image[3, 58, 48] = 2000
    np.testing.assert_array_equal(head_mask(image, voxel_volume_mm3=3.0), without_specks)


def test_the_nonzero_rule_selects_every_voxel_that_is_not_zero():
    stack = np.array([[[0, 1], [-2, 0]]], np.float32)
    np.testing.assert_array_equal(head_mask(stack, 1.0, "nonzero"), stack != 0)


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
