import numpy as np
import pytest

from tests.runtime.image_quality.quality_toys import toy_slices
from wmh_runtime.image_quality.interleaving import slice_brightness_percent, slice_motion_mm

SHAPE = (11, 60, 60)


def heads(shift_rows=0, shift_columns=0, drift=0, slices=11):
    """A box in each slice; that of odd slices is shifted, and all move on with the slice."""
    head = np.zeros((slices, *SHAPE[1:]), bool)
    for index in range(slices):
        row = 10 + drift * index + shift_rows * (index % 2)
        column = 15 + shift_columns * (index % 2)
        head[index, row : row + 20, column : column + 30] = True
    return head


def motion(head, **masks):
    stack = np.where(head, 100, 0)
    return slice_motion_mm(toy_slices(stack, spacing_mm=(5.0, 0.5, 1.5), head=head, **masks))


@pytest.mark.parametrize("slices", [7, 11, 12])  # differences of odd and of even number
def test_a_head_that_moved_between_even_and_odd_slices(slices):
    assert motion(heads(shift_rows=3, slices=slices)) == pytest.approx(1.5)  # rows of 0.5 mm


def test_the_distance_is_that_along_rows_and_columns():
    assert motion(heads(shift_rows=-4, shift_columns=1)) == pytest.approx(2.5)  # √(2² + 1.5²)


def test_a_head_that_lies_oblique_did_not_move():
    assert motion(heads(drift=2)) == pytest.approx(0)


def test_one_moved_slice_is_no_alternation():
    head = heads()
    head[5] = np.roll(head[5], 8, axis=0)
    assert motion(head) == pytest.approx(0)


def test_slices_below_the_brain_are_left_out():
    head = heads(shift_rows=3)
    brain = head.copy()
    brain[:8] = False  # three slices are left, too few
    assert motion(head, brain=brain) is None
    assert motion(head, brain=heads()) == pytest.approx(1.5)


def test_few_slices_or_no_head_are_not_measurable():
    assert motion(heads(shift_rows=3, slices=6)) is None
    assert motion(np.zeros(SHAPE, bool)) is None


def brightness(levels, white=None, **more):
    stack = np.ones(SHAPE) * np.asarray(levels)[:, None, None]
    white = np.ones(SHAPE, bool) if white is None else white
    return slice_brightness_percent(toy_slices(stack, white=white, **more))


def test_every_second_slice_is_darker():
    assert brightness([100, 90] * 5 + [100]) == pytest.approx(10)
    assert brightness(np.linspace(60, 140, 11)) == pytest.approx(0, abs=1e-4)  # a bias field


def test_without_white_matter_brightness_is_not_known():
    levels = [100, 90] * 5 + [100]
    few = np.zeros(SHAPE, bool)
    few[:, :14, :14] = True  # 196 voxels in each slice
    assert brightness(levels, white=few) is None
    assert brightness(levels, white_level=None) is None
