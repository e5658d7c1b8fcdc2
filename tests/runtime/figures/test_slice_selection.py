"""Which slices are shown: those that show the lesions, spread over the head."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wmh_runtime.figures.slice_selection import select_slices, slices_with_most_lesion


def stack(*rows: list[int]) -> NDArray[np.uint16]:
    """Return slices of one row each."""
    return np.array(rows, dtype=np.uint16)[:, np.newaxis]


def one_voxel_lesions(count: int, *indices: int) -> NDArray[np.uint16]:
    """Return a stack with a lesion of one voxel in each of some slices."""
    lesions = np.zeros((count, 1, 2), dtype=np.uint16)
    lesions[list(indices), 0, 0] = np.arange(1, len(indices) + 1)
    return lesions


def head(count: int) -> NDArray[np.bool_]:
    return np.ones((count, 1, 2), dtype=bool)


def test_slices_without_lesions_are_the_middles_of_even_runs() -> None:
    # runs 0-2, 3-5, 6-8, 9-11
    assert select_slices(head(12), one_voxel_lesions(12), 4) == [1, 4, 7, 10]


def test_all_slices_are_shown_if_there_is_room() -> None:
    assert select_slices(head(4), one_voxel_lesions(4, 1, 2), 4) == [0, 1, 2, 3]


def test_a_slice_for_each_lesion_and_the_gaps_are_filled() -> None:
    """Lesions in slices 3 and 9 of 16. Two more: the widest gaps are 10 to 15 and 4 to 8.

    The ends are half a step, 2 slices, outside: at -2.5 and 17.5. The gaps are 5.5, 6 and 8.5
    wide, so the first goes to 9 + 4.25 = 13, the second to 3 + 3 = 6.
    """
    assert select_slices(head(16), one_voxel_lesions(16, 3, 9), 4) == [3, 6, 9, 13]


def test_neighbors_are_not_both_shown_if_the_slices_are_thin() -> None:
    """A lesion of equal area in slices 20 to 39 of 60: 10 are shown, the mean distance is 6.

    They are at least 3 slices apart.
    """
    lesions = np.zeros((60, 1, 2), dtype=np.uint16)
    lesions[20:40, 0, 0] = 1
    shown = select_slices(head(60), lesions, 10)
    assert len(shown) == 10
    assert min(after - before for before, after in pairwise(shown)) >= 3


def test_each_lesion_is_shown_where_it_is_largest() -> None:
    """Lesion 1 has areas 1, 3, 1 in slices 2, 3, 4; lesion 2 has 1 and 2 in slices 8 and 9."""
    rows = [[0] * 3 for _ in range(12)]
    rows[2], rows[3], rows[4] = [1, 0, 0], [1, 1, 1], [1, 0, 0]
    rows[8], rows[9] = [2, 0, 0], [2, 2, 0]
    shown = select_slices(np.ones((12, 1, 3), dtype=bool), stack(*rows), 4)
    assert {3, 9} <= set(shown)


def test_a_quarter_of_the_slices_is_not_chosen_for_lesions() -> None:
    """Ten lesions, one in each slice from 10 to 19 of 20: 3 of 4 slices are for lesions.

    Mean distance 5, so at least 3 apart: 10, 13 and 16. The widest gap is below them.
    """
    shown = select_slices(head(20), one_voxel_lesions(20, *range(10, 20)), 4)
    assert shown == [4, 10, 13, 16]


def test_slices_without_head_are_shown_only_if_they_have_lesions() -> None:
    head = np.zeros((10, 2, 2), dtype=bool)
    head[3:6] = True
    lesions = np.zeros(head.shape, dtype=np.uint16)
    assert select_slices(head, lesions, 20) == [3, 4, 5]
    lesions[7, 0, 0] = 1
    assert select_slices(head, lesions, 20) == [3, 4, 5, 7]


def test_many_lesions_are_counted_in_16_bits_without_overflow() -> None:
    """Label 60000 in slice 9 of 10: 60000 times 10 is more than 16 bits hold."""
    lesions = np.zeros((10, 1, 2), dtype=np.uint16)
    lesions[9] = 60000
    assert 9 in select_slices(head(10), lesions, 2)


@given(
    areas=st.lists(st.integers(0, 5), min_size=1, max_size=200),
    count=st.integers(1, 24),
    seed=st.integers(0, 99),
)
def test_the_slices_are_as_many_as_fit_apart_and_with_the_most_lesion(
    areas: list[int], count: int, seed: int
) -> None:
    lesions = np.zeros((len(areas), 1, 5), dtype=np.uint16)
    random = np.random.default_rng(seed)
    for index, area in enumerate(areas):
        lesions[index, 0, :area] = random.integers(1, 6, area)
    shown = select_slices(np.ones(lesions.shape, dtype=bool), lesions, count)
    assert shown == sorted(set(shown))
    assert len(shown) == min(count, len(areas))
    assert max(areas) == max(areas[index] for index in shown)
    if len(areas) > count:
        half_of_mean_distance = len(areas) // count / 2
        assert all(after - before >= half_of_mean_distance for before, after in pairwise(shown))


@pytest.mark.parametrize(("count", "expected"), [(1, [6]), (2, [6, 12]), (3, [3, 6, 12])])
def test_the_slices_with_the_most_lesion_are_apart(count: int, expected: list[int]) -> None:
    """Areas 0 0 0 1 0 0 4 3 0 0 0 0 2 and 37 empty slices: 6 % of 50 slices are 3 slices."""
    areas = [0, 0, 0, 1, 0, 0, 4, 3, 0, 0, 0, 0, 2] + [0] * 37
    masks = np.arange(5) < np.array(areas)[:, np.newaxis, np.newaxis]
    assert slices_with_most_lesion(masks, count) == expected
    assert slices_with_most_lesion(np.zeros_like(masks), count) == []
