"""The plane between left and right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmh_runtime.postprocessing.symmetry import LEAST_AGREEMENT, find_symmetry_plane

SHAPE, SPACING_MM = (80, 95, 30), (2.2, 2.0, 5.0)


def whole(shape):
    """Return the box of a whole image."""
    return [slice(0, count) for count in shape]


def brain(yaw_degrees, roll_degrees, shift_mm):
    """A brain-like volume, turned and shifted: two halves, two ventricles, a cerebellum.

    Returns the region numbers, the affine, and whether each voxel is truly left.
    """
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = -np.array(SPACING_MM) * (np.array(SHAPE) - 1) / 2
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    points = grid @ affine[:3, :3].T + affine[:3, 3] - [shift_mm, 3, -4]
    yaw, roll = np.radians([yaw_degrees, roll_degrees])
    turn_z = [[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]]
    turn_y = [[np.cos(roll), 0, -np.sin(roll)], [0, 1, 0], [np.sin(roll), 0, np.cos(roll)]]
    x, y, z = np.moveaxis(points @ (np.array(turn_z) @ turn_y), -1, 0)
    numbers = np.zeros(SHAPE, np.uint8)
    numbers[(x / 68) ** 2 + (y / 85) ** 2 + (z / 62) ** 2 <= 1] = 4  # cortex
    numbers[(x / 60) ** 2 + (y / 77) ** 2 + (z / 54) ** 2 <= 1] = 3  # white matter
    numbers[((abs(x) - 14) / 9) ** 2 + (y / 35) ** 2 + ((z - 8) / 14) ** 2 <= 1] = 2
    numbers[(x / 45) ** 2 + ((y + 55) / 25) ** 2 + ((z + 45) / 20) ** 2 <= 1] = 6
    return numbers, affine, x < 0


@given(yaw=st.floats(-20, 20), roll=st.floats(-15, 15), shift_mm=st.floats(-15, 15))
@settings(max_examples=15, deadline=None)
def test_left_is_found_in_turned_and_shifted_heads(yaw, roll, shift_mm):
    numbers, affine, left = brain(yaw, roll, shift_mm)
    plane = find_symmetry_plane(numbers, affine)
    found = plane.is_left(whole(SHAPE), affine)
    assert np.mean(found[numbers > 0] == left[numbers > 0]) > 0.97  # within about 4 degrees


def test_a_brain_with_nothing_in_common_left_and_right_has_a_low_agreement():
    numbers, affine, left = brain(0, 0, 0)
    assert find_symmetry_plane(numbers, affine).agreement > 0.8
    rng = np.random.default_rng(0)
    wrong = left & (numbers > 0)
    numbers[wrong] = rng.integers(1, 7, np.count_nonzero(wrong))
    assert find_symmetry_plane(numbers, affine).agreement < LEAST_AGREEMENT


def test_a_lesion_on_one_side_does_not_move_the_plane():
    numbers, affine, left = brain(8, -5, 6)
    numbers[20:32, 40:60, 12:20] = 5  # large and on one side only
    found = find_symmetry_plane(numbers, affine).is_left(whole(SHAPE), affine)
    assert np.mean(found[numbers > 0] == left[numbers > 0]) > 0.97  # within about 4 degrees


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("flip", [1, -1])
def test_the_order_of_the_voxels_does_not_matter(order, flip):
    numbers, affine, left = brain(5, 3, -4)
    axes = [*order, 3]
    stored, stored_affine = numbers.transpose(order), affine[:, axes].copy()
    if flip < 0:
        stored = stored[::-1]
        stored_affine[:3, 3] += (stored.shape[0] - 1) * stored_affine[:3, 0]
        stored_affine[:3, 0] *= -1
    found = find_symmetry_plane(stored, stored_affine).is_left(whole(stored.shape), stored_affine)
    expected = left.transpose(order)[::flip]
    assert np.mean((found == expected)[stored > 0]) > 0.97  # within about 4 degrees
