"""How much one image tells about another one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmh_runtime.preprocessing.similarity import shared_information

VALUES = np.random.default_rng(1).normal(size=(20, 40, 40)).astype(np.float32)
ALL = np.ones(VALUES.shape, bool)


@given(st.floats(0.1, 100), st.floats(-100, 100))
def test_an_image_that_follows_from_the_other_shares_all(scale, offset):
    # Whatever the contrast: also with bright and dark exchanged.
    for sign in (1, -1):
        assert shared_information(VALUES, sign * scale * VALUES + offset, ALL) > 0.99


def test_images_that_have_nothing_in_common_share_almost_nothing():
    other = np.random.default_rng(2).normal(size=VALUES.shape)
    assert shared_information(VALUES, other, ALL) < 0.001
    few = np.zeros_like(ALL)
    few[0, :25] = True  # 1000 voxels: before the correction, 0.17
    assert shared_information(VALUES, other, few) < 0.05


def test_the_share_of_two_of_thirty_two_classes():
    # Both images are noise but for the same half that is brighter: 1 of 5 bits.
    random = np.random.default_rng(3)
    brighter = random.permutation(VALUES.size).reshape(VALUES.shape) % 2
    one, other = (brighter + random.random(VALUES.shape) for _ in range(2))
    assert shared_information(one, other, ALL) == pytest.approx(1 / 5, abs=0.005)


def test_only_some_voxels_count():
    other = np.random.default_rng(2).normal(size=VALUES.shape).astype(np.float32)
    where = ALL.copy()
    where[10:] = False
    other[:10] = VALUES[:10]
    assert shared_information(VALUES, other, where) > 0.99
    assert shared_information(VALUES, other, ~where) < 0.02


def test_a_constant_image_shares_nothing():
    assert shared_information(VALUES, np.ones_like(VALUES), ALL) == 0
    assert shared_information(VALUES, VALUES, ~ALL) == 0
