import numpy as np
import pytest

from wmh_runtime.postprocessing.lesion_details import describe_lesions
from wmh_runtime.postprocessing.lesions import find_lesions

# Voxel axes: posterior (4 mm), superior (5 mm), left (0.5 mm).
AFFINE = np.array([[0, 0, -0.5, 0], [-4, 0, 0, 0], [0, 5, 0, 0], [0, 0, 0, 1.0]])


def describe(probability, affine):
    probability = np.asarray(probability, np.float32)
    voxel_mm3 = float(abs(np.linalg.det(affine[:3, :3])))
    lesions = find_lesions(probability, threshold=0.5, min_lesion_mm3=0, voxel_volume_mm3=voxel_mm3)
    return describe_lesions(lesions, probability, affine)


def test_box_probability_and_slice_of_each_lesion():
    probability = np.zeros((6, 7, 8))
    # 2 voxels to the back, 3 upward, 1 to the left; most of it in the second slice.
    probability[1:3, 1, 4] = 0.6
    probability[1, 2, 4] = 0.8
    probability[1, 3, 4] = 1.0
    probability[5, 6, 0:3] = 0.9
    large, small = describe(probability, AFFINE)
    assert large.extent_mm == (0.5, 8, 15)
    assert large.mean_probability == pytest.approx((0.6 + 0.6 + 0.8 + 1.0) / 4)
    assert large.largest_slice == 2  # of the slices 2, 3 and 4, counted from 1
    assert small.extent_mm == (1.5, 4, 5)
    assert small.mean_probability == pytest.approx(0.9)
    assert small.largest_slice == 7


def test_slices_are_counted_from_the_most_inferior_one():
    downward = AFFINE.copy()
    downward[2, 1] = -5
    probability = np.zeros((6, 7, 8))
    probability[0, 0, 0] = 1
    assert describe(probability, AFFINE)[0].largest_slice == 1
    assert describe(probability, downward)[0].largest_slice == 7


def test_without_lesions_there_is_nothing_to_describe():
    assert describe(np.zeros((3, 3, 3)), np.eye(4)) == []


def test_of_two_equal_slices_the_lower_one_is_named():
    probability = np.zeros((4, 4, 4))
    probability[1, 1, 2:4] = 1
    assert describe(probability, np.eye(4))[0].largest_slice == 3
