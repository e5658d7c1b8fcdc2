import numpy as np
import pytest

from tests.runtime.image_quality.quality_toys import toy_slices
from wmh_runtime.image_quality.noise import noise_percent

RNG = np.random.default_rng(3)
NOISE = RNG.normal(0, 8, (6, 80, 80))  # 8 % of a white level of 100
WHITE = np.zeros(NOISE.shape, bool)
WHITE[1:5, 10:70, 5:60] = True


def test_noise_is_found_beside_gradients_and_edges():
    _, rows, columns = np.indices(NOISE.shape)
    stack = 100 + NOISE + 0.5 * rows + 1.5 * columns
    stack[:, :, 30:] += 40  # an edge in white matter
    assert noise_percent(toy_slices(stack, white=WHITE)) == pytest.approx(8, abs=0.4)


def test_only_white_matter_counts():
    stack = np.where(WHITE, 100 + NOISE, 100 + 10 * NOISE)
    assert noise_percent(toy_slices(stack, white=WHITE)) == pytest.approx(8, abs=0.4)


def test_pixels_whose_neighbors_are_not_white_matter_are_left_out():
    _, rows, columns = np.indices(NOISE.shape)
    # Diagonal stripes; one of nine diagonals has all neighbors at two pixels in the stripe.
    stripes = WHITE & ((rows + columns) % 16 < 9)
    stack = np.where(stripes, 100 + NOISE, 500)
    assert noise_percent(toy_slices(stack, white=stripes)) == pytest.approx(8, abs=0.6)


def test_the_noise_of_an_interpolated_image_is_that_of_its_pixels():
    # Each pixel fills two rows and two columns, so every second row and column is as acquired.
    fine = np.kron(NOISE[:, :40, :40], np.ones((1, 2, 2)))
    assert noise_percent(toy_slices(100 + fine, white=WHITE)) == pytest.approx(8, abs=0.4)


def test_noise_is_relative_to_white_matter():
    found = noise_percent(toy_slices(2 * (100 + NOISE), white_level=200.0, white=WHITE))
    assert found == pytest.approx(8, abs=0.4)


def test_without_white_matter_or_its_level_noise_is_not_known():
    small = np.zeros(WHITE.shape, bool)
    small[0, :22, :22] = True  # 484 voxels
    assert noise_percent(toy_slices(NOISE, white=small)) is None
    assert noise_percent(toy_slices(NOISE, white=WHITE, white_level=None)) is None
