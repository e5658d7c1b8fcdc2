import numpy as np
import pytest

from wmh_runtime.preprocessing.slices.context import with_neighbors


def test_neighbors_are_channels_from_the_lowest_to_the_highest():
    # Slice i has the values 10 i (first channel) and 10 i + 1 (second channel).
    slices = np.array([[0, 1], [10, 11], [20, 21]], np.float32)[:, :, None, None]
    result = with_neighbors(slices, np.array([1, 0, 2]), context=1)
    assert result[..., 0, 0].tolist() == [
        [0, 10, 20, 1, 11, 21],
        [0, 0, 10, 1, 1, 11],  # the first slice takes the place of the one below it
        [10, 20, 20, 11, 21, 21],
    ]


def test_neighbors_can_be_further_away():
    slices = np.array([0, 10, 20, 30], np.float32)[:, None, None, None]
    result = with_neighbors(slices, np.array([1, 2]), context=1, distance=2)
    assert result[..., 0, 0].tolist() == [[0, 10, 30], [0, 20, 30]]


def test_without_context_the_slices_stay_as_they_are():
    slices = np.arange(24, dtype=np.float16).reshape(3, 2, 2, 2)
    result = with_neighbors(slices, np.array([2, 0]), context=0)
    np.testing.assert_array_equal(result, slices[[2, 0]])


@pytest.mark.parametrize("context", [0, 1])
def test_no_slice_may_be_asked_for(context):
    slices = np.zeros((4, 2, 3, 3))
    found = with_neighbors(slices, np.array([], int), context)
    assert found.shape == (0, 2 * (1 + 2 * context), 3, 3)
