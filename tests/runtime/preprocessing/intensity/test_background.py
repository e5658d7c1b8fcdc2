import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.preprocessing.heads import head_in_noise
from wmh_runtime.preprocessing.intensity.background import constant_background

FINITE = st.floats(-1e9, 1e9, width=32)


def test_a_scan_with_noise_in_the_air_has_no_constant_background():
    image, _ = head_in_noise()
    assert not constant_background(image).any()


@given(FINITE)
def test_padding_with_any_value_is_background(value):
    image, _ = head_in_noise()
    padded = np.pad(image, ((0, 1), (3, 0), (2, 4)), constant_values=value)
    expected = np.pad(np.zeros_like(image, bool), ((0, 1), (3, 0), (2, 4)), constant_values=True)
    found = constant_background(padded)
    # A voxel of the air that has the value by chance, and touches the padding, may be taken too.
    assert (found | ~expected).all()
    assert np.count_nonzero(found & ~expected) <= 5


def test_padding_around_the_background_of_an_extracted_brain_is_found_too():
    image, ellipse = head_in_noise()
    extracted = np.where(ellipse, image, 0)
    padded = np.pad(extracted, ((0, 0), (5, 5), (5, 5)), constant_values=-32768)
    found = constant_background(padded)[:, 5:-5, 5:-5]
    np.testing.assert_array_equal(found, ~ellipse)


def test_the_value_of_the_padding_is_no_background_inside_the_head():
    image, _ = head_in_noise()
    image[2:4, 30:50, 20:28] = 400
    padded = np.pad(image, 5, constant_values=400)
    assert not constant_background(padded)[7:9, 35:55, 25:33].any()


def test_an_interpolated_background_is_found_although_it_is_not_exactly_constant():
    image, ellipse = head_in_noise()
    ringing = np.random.default_rng(1).uniform(-0.1, 0.1, image.shape)  # 400 · 0.1 % = 0.4
    found = constant_background(np.where(ellipse, image, ringing).astype(np.float32))
    np.testing.assert_array_equal(found, ~ellipse)


@pytest.mark.parametrize("value", [0, 7, -1e30])
def test_a_constant_image_is_all_background(value):
    assert constant_background(np.full((3, 4, 5), value, np.float32)).all()
