import math

import numpy as np
import pytest

from tests.runtime.image_quality.quality_toys import toy_slices
from wmh_runtime.image_quality.bias import bias_percent

SHAPE, SPACING_MM = (12, 24, 120), (4.0, 2.0, 2.0)  # 4 · 4 · 20 blocks of 12 mm
EVERYWHERE = np.ones(SHAPE, bool)
COLUMN = np.arange(120)[None, None, :] * np.ones(SHAPE)


def bias_of(stack, white=EVERYWHERE, **more):
    return bias_percent(toy_slices(stack, SPACING_MM, white=white, **more))


def test_an_exponential_field_along_the_columns():
    # It grows by 1 % in each column. There are 20 blocks of 6 columns, with equal numbers of each:
    # the 5th percentile is in the first or second, the 95th in the last or last but one.
    low, high = 100 * (math.exp(0.01 * 17 * 6) - 1), 100 * (math.exp(0.01 * 19 * 6) - 1)
    assert low <= bias_of(100 * np.exp(0.01 * COLUMN)) <= high


def test_what_is_outside_white_matter_or_fine_is_no_bias():
    rng = np.random.default_rng(2)
    noisy = 100 + rng.normal(0, 10, SHAPE)
    assert bias_of(noisy) < 3
    stripes = 100 + 30 * (COLUMN // 6 % 2)
    assert bias_of(stripes) < 4
    white = EVERYWHERE.copy()
    white[:, 12:] = False
    assert bias_of(np.where(white, 100, 900), white) == pytest.approx(0, abs=1e-6)


def test_little_white_matter_is_not_measurable():
    assert bias_of(100 + COLUMN, white=COLUMN < 6) is None  # 16 blocks
    assert bias_of(100 + COLUMN, white=~EVERYWHERE) is None
    assert bias_of(100 + COLUMN, white_level=None) is None


def test_slices_farther_apart_than_a_block_are_measured_too():
    spacing_mm = (15.0, 2.0, 2.0)  # a block of 12 mm has one slice, or none
    slices = toy_slices(100 * np.exp(0.01 * COLUMN), spacing_mm, white=EVERYWHERE)
    low, high = 100 * (math.exp(0.01 * 17 * 6) - 1), 100 * (math.exp(0.01 * 19 * 6) - 1)
    assert low <= bias_percent(slices) <= high
