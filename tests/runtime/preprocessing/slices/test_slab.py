import numpy as np
import pytest

from wmh_runtime.preprocessing.slices.slab import average_thin_slices, slab_distance


def levels(slices):
    return slices[:, 0, 0, 0].tolist()


def stack(*values):
    return np.array(values, np.float32).reshape(-1, 1, 1, 1)


def test_slices_of_1_mm_are_averaged_in_threes():
    result = average_thin_slices(stack(0, 3, 6, 0, 9), 1.0, 3.0)
    # Two slices only at both ends.
    assert levels(result) == pytest.approx([1.5, 3, 3, 5, 4.5])
    assert result.dtype == np.float32


def test_a_slice_partly_in_the_window_has_a_part_of_the_weight():
    # 3 mm are 1.5 slices of 2 mm: the slice itself, and a quarter of each neighbor.
    assert levels(average_thin_slices(stack(0, 6, 12, 0), 2.0, 3.0)) == pytest.approx(
        [6 / 4 / (5 / 4), 6, (6 / 4 + 12) / (6 / 4), 12 / 4 / (5 / 4)]
    )


@pytest.mark.parametrize(("distance_mm", "slab_mm"), [(3.0, 3.0), (5.0, 3.0), (1.0, 0.0)])
def test_thick_slices_stay_as_they_are(distance_mm, slab_mm):
    slices = stack(0, 6, 12)
    np.testing.assert_array_equal(average_thin_slices(slices, distance_mm, slab_mm), slices)


@pytest.mark.parametrize(
    ("distance_mm", "slices"), [(1.0, 3), (0.8, 4), (2.0, 2), (3.0, 1), (6.0, 1)]
)
def test_neighbors_are_one_slab_away(distance_mm, slices):
    assert slab_distance(distance_mm, 3.0) == slices


def test_without_slabs_neighbors_are_adjacent():
    assert slab_distance(1.0, 0.0) == 1
