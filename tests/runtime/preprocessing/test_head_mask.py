import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.runtime.preprocessing.heads import head_in_noise
from wmh_runtime.overlap import dice_of_masks as dice
from wmh_runtime.preprocessing.head_mask import find_head, otsu_threshold

VOXEL_MM3 = 3.0
HEAD_IN_NOISE, ELLIPSE = head_in_noise()
HEAD = find_head(HEAD_IN_NOISE, VOXEL_MM3).mask


def head_of(image):
    return find_head(np.asarray(image, np.float32), VOXEL_MM3).mask


def test_otsu_threshold_is_between_two_values():
    values = np.array([0.1] * 700 + [0.9] * 300, np.float32)
    assert 0.1 <= otsu_threshold(values) < 0.9


def test_the_head_in_noise_includes_its_dark_inside():
    assert np.count_nonzero(HEAD != ELLIPSE) < 0.02 * np.count_nonzero(ELLIPSE)
    assert HEAD[:, 30, 24].all()  # the middle of the hole


def test_a_dark_scalp_around_a_bright_brain_belongs_to_the_head():
    # Fat suppression: the scalp has 30 % of the intensity of the brain, below Otsu's threshold.
    image, ellipse = head_in_noise(noise=5.0)
    scalp = np.zeros_like(ellipse)
    scalp[:, 2:58, 2:46] = True
    assert head_of(np.where(scalp & ~ellipse, 120, image))[:, 3:57, 3:45].all()


def test_bright_specks_in_the_air_are_not_head():
    image = HEAD_IN_NOISE.copy()
    image[0, 1, 1] = image[3, 58, 48] = 2000
    np.testing.assert_array_equal(head_of(image), HEAD)


def test_the_head_of_an_extracted_brain_is_all_that_is_not_background():
    # Except single pixels at the tips of the ellipse.
    assert dice(head_of(np.where(ELLIPSE, HEAD_IN_NOISE, 0)), ELLIPSE) > 0.99


def test_without_air_and_background_the_whole_image_is_the_head_with_a_warning():
    tissue = np.random.default_rng(0).normal(100, 10, (6, 60, 50)).astype(np.float32)
    found = find_head(tissue, VOXEL_MM3)
    assert found.mask.all()
    (warning,) = found.warnings
    assert warning.startswith("no air is found around the head, which fills 100% of the sides")
    assert find_head(HEAD_IN_NOISE, VOXEL_MM3).warnings == ()


def test_an_inverted_image_has_a_warning():
    (warning,) = find_head(500 - HEAD_IN_NOISE, VOXEL_MM3).warnings
    assert warning.startswith("the border of the image is brighter than its middle")


def test_an_image_without_contrast_has_no_head():
    assert not head_of(np.zeros((3, 20, 20))).any()


# --- the head does not depend on the intensity scale, on padding and on a few extreme voxels -----


@given(st.integers(-60, 60))
def test_a_power_of_two_as_factor_does_not_change_a_voxel_of_the_head(exponent):
    np.testing.assert_array_equal(head_of(HEAD_IN_NOISE * np.float32(2.0**exponent)), HEAD)


@given(factor=st.floats(1e-6, 1e6), offset=st.floats(-10, 10))
def test_a_factor_and_an_offset_do_not_change_the_head(factor, offset):
    # The offset is relative to the intensity of the head, 400.
    assert dice(head_of((HEAD_IN_NOISE + offset * 400) * factor), HEAD) >= 0.999


@settings(max_examples=50)
@given(value=st.floats(-1e9, 1e9, width=32), before=st.integers(0, 30), after=st.integers(0, 30))
@example(value=-94, before=0, after=0)  # a little below the air
def test_padding_with_any_value_does_not_change_the_head(value, before, after):
    widths = ((1, 0), (before, after), (after, before))
    padded = np.pad(HEAD_IN_NOISE, widths, constant_values=value)
    head = head_of(padded)[1:, before : before + 60, after : after + 50]
    assert dice(head, HEAD) >= 0.999
    assert np.count_nonzero(head_of(padded)) == np.count_nonzero(head)


@settings(max_examples=50)
@given(value=st.floats(-1e9, 1e9, width=32), seed=st.integers(0, 1000))
def test_one_voxel_in_a_thousand_with_any_value_does_not_change_the_head(value, seed):
    image = HEAD_IN_NOISE.copy()
    odd = np.random.default_rng(seed).choice(image.size, image.size // 1000, replace=False)
    image.flat[odd] = value
    assert dice(head_of(image), HEAD) >= 0.99


@given(st.sampled_from([0.0, -5.0, 3.0]))
def test_z_scoring_within_the_head_does_not_change_it(background):
    inside = HEAD_IN_NOISE[HEAD]
    z_scored = (HEAD_IN_NOISE - inside.mean()) / inside.std()
    assert dice(head_of(z_scored), HEAD) >= 0.999
    assert dice(head_of(np.where(HEAD, z_scored, background)), HEAD) >= 0.999


def test_tiny_contrast_on_a_large_offset_is_found():
    # Noise of 2 on 10⁶, where float32 has steps of 1/16.
    assert dice(head_of(1e6 + HEAD_IN_NOISE / 10), HEAD) > 0.99


@pytest.mark.parametrize("share", [0.03, 0.05, 0.1, 0.15])
def test_air_that_was_cleared_does_not_change_the_head(share):
    # Noise in the air reaches 0.15 of the intensity of the head: all or a part of it is cleared.
    cleared = np.where(share * 400 > HEAD_IN_NOISE, 0, HEAD_IN_NOISE)
    assert dice(head_of(cleared), HEAD) >= 0.98


def test_few_gray_levels_do_not_change_the_head():
    assert dice(head_of(np.round(HEAD_IN_NOISE / 400 * 20)), HEAD) >= 0.98
