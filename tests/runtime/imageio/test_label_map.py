import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.volume import scan_from_array

AFFINE = np.diag([-1.0, 0.9, 3.0, 1.0])
SHAPE = (5, 60, 41)  # more voxels than are looked at first


@given(labels=st.integers(2, 8), positions=st.randoms(use_true_random=False))
def test_an_image_of_few_values_is_a_mask(labels, positions):
    voxels = np.zeros(SHAPE, np.float32)
    for label in range(1, labels):
        voxels.flat[positions.randrange(voxels.size // 8) + (label - 1) * voxels.size // 8] = label
    with pytest.raises(InputError, match=r"array: is a mask or a label map: all of its voxels are"):
        scan_from_array(voxels, AFFINE)


@pytest.mark.parametrize("value", [0.5, 0.996, 1.0000001])
def test_a_mask_may_be_scaled(value):
    voxels = np.zeros(SHAPE, np.float32)
    voxels[2, 3, 4] = value
    with pytest.raises(InputError, match="is a mask or a label map"):
        scan_from_array(voxels, AFFINE)


def test_an_image_of_more_values_is_a_scan():
    voxels = np.zeros(SHAPE, np.float32)
    voxels[2, 3, :8] = range(1, 9)  # nine values with the zero
    assert scan_from_array(voxels, AFFINE).voxels.max() == 8


def test_the_message_names_the_values():
    voxels = np.zeros(SHAPE, np.float32)
    voxels[1, 2, 3], voxels[3, 2, 1] = 2, 255
    with pytest.raises(InputError, match=r"all of its voxels are 0, 2, 255\. Give the scan itself"):
        scan_from_array(voxels, AFFINE)
