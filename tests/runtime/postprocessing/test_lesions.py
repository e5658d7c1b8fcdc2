import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from wmh_runtime.postprocessing.lesions import find_lesions, label_components


def find(probability, threshold=0.5, min_lesion_mm3=0.0, voxel_volume_mm3=1.0):
    return find_lesions(
        np.asarray(probability, np.float32),
        threshold=threshold,
        min_lesion_mm3=min_lesion_mm3,
        voxel_volume_mm3=voxel_volume_mm3,
    )


def three_lesions():
    """Lesions of 1, 2 (touching by a corner only) and 4 voxels."""
    probability = np.zeros((8, 8, 8), np.float32)
    probability[0, 0, 0] = 0.9
    probability[3, 3, 3] = probability[4, 4, 4] = 0.8
    probability[6, 6, 0:4] = 0.7
    return probability


def test_voxels_that_share_only_a_corner_are_one_lesion():
    lesions = find(three_lesions())
    assert lesions.volumes_mm3.tolist() == [4, 2, 1]


def test_volume_is_in_millilitres():
    # 7 voxels of 0.5 × 2 × 3 = 3 mm³ are 21 mm³.
    lesions = find(three_lesions(), voxel_volume_mm3=3.0)
    assert lesions.volume_ml == pytest.approx(0.021)


def test_lesions_of_exactly_the_smallest_volume_are_kept():
    # 1.5 mm³ a voxel: lesions of 1.5, 3 and 6 mm³.
    lesions = find(three_lesions(), min_lesion_mm3=3.0, voxel_volume_mm3=1.5)
    assert lesions.volumes_mm3.tolist() == [6, 3]
    assert lesions.mask.sum() == 6
    assert lesions.mask[0, 0, 0] == 0


def test_float32_rounding_of_the_voxel_volume_does_not_lose_a_lesion():
    lesions = find(three_lesions(), min_lesion_mm3=4.0, voxel_volume_mm3=0.99999994)
    assert lesions.count == 1


def test_a_voxel_at_the_threshold_is_lesion():
    probability = np.zeros((3, 3, 3), np.float32)
    probability[1, 1, 1] = 0.5
    assert find(probability, threshold=0.5).count == 1
    assert find(probability, threshold=0.51).count == 0


def test_centers_are_voxel_indices():
    lesions = find(three_lesions())
    assert lesions.centers_vox.tolist() == [[6, 6, 1.5], [3.5, 3.5, 3.5], [0, 0, 0]]


def test_no_lesion_is_zero_millilitres_and_an_empty_mask():
    lesions = find(np.zeros((3, 4, 5)))
    assert (lesions.count, lesions.volume_ml) == (0, 0.0)
    assert lesions.mask.shape == (3, 4, 5)
    assert lesions.mask.dtype == np.uint8
    assert not lesions.mask.any()


def test_everything_filtered_away_is_an_empty_mask():
    assert not find(three_lesions(), min_lesion_mm3=100).mask.any()


@given(voxels=st.sets(st.tuples(*[st.integers(0, 5)] * 3), max_size=8), offset=st.integers(0, 6))
@settings(max_examples=200, deadline=None)
def test_few_voxels_anywhere_have_the_components_of_their_definition(voxels, offset):
    probability = np.zeros((13, 12, 14), np.float32)
    for x, y, z in voxels:
        probability[x, y + offset, z + offset] = 1
    numbers, count = label(probability, structure=np.ones((3, 3, 3)))
    lesions = find(probability)
    assert lesions.count == count
    for one in range(1, count + 1):  # the same voxels under one number each
        own = lesions.labels[numbers == one]
        assert own.size == lesions.volumes_mm3[own[0] - 1]
        assert (own == own[0]).all()
        expected = np.argwhere(numbers == one).mean(axis=0)
        np.testing.assert_allclose(lesions.centers_vox[own[0] - 1], expected, atol=1e-5)
    assert np.count_nonzero(lesions.labels) == len(voxels)


def test_the_order_of_voxels_in_memory_does_not_decide_the_numbers():
    mask = np.zeros((13, 12, 14), bool)
    for place in ((2, 6, 6), (8, 2, 6), (5, 9, 2)):
        mask[place] = True
    np.testing.assert_array_equal(label_components(mask), label_components(np.asfortranarray(mask)))
