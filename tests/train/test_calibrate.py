import numpy as np
import pytest

from wmh_train.calibrate import MIN_LESIONS_MM3, THRESHOLDS, _best, dice_surface


def surface_at(surface, threshold, min_lesion_mm3):
    return surface[THRESHOLDS.index(threshold), MIN_LESIONS_MM3.index(min_lesion_mm3)]


def test_the_surface_by_hand():
    # A true lesion of 4 voxels at 0.8 and a false one of 1 voxel at 0.6; a voxel is 2 mm³.
    probability = np.zeros((6, 6, 6), np.float32)
    probability[1, 1, 0:4] = 0.8
    probability[4, 4, 4] = 0.6
    reference = probability == np.float32(0.8)
    surface = dice_surface(probability, reference, voxel_volume_mm3=2.0)
    assert surface_at(surface, 0.5, 0.0) == pytest.approx(2 * 4 / (5 + 4))
    assert surface_at(surface, 0.5, 3.0) == 1  # the false one, 2 mm³, is gone
    assert surface_at(surface, 0.7, 0.0) == 1
    assert surface_at(surface, 0.5, 9.0) == 0  # the true one, 8 mm³, too
    assert surface_at(surface, 0.9, 0.0) == 0


def test_the_memory_order_of_arrays_does_not_matter():
    rng = np.random.default_rng(0)
    probability = rng.random((5, 6, 7)).astype(np.float32)
    reference = rng.random((5, 6, 7)) > 0.7
    np.testing.assert_array_equal(
        dice_surface(np.asfortranarray(probability), reference, 1.0),
        dice_surface(probability, np.asfortranarray(reference), 1.0),
    )


def test_a_network_that_finds_nothing_scores_nothing():
    surface = dice_surface(np.zeros((3, 3, 3), np.float32), np.ones((3, 3, 3), bool), 1.0)
    assert not surface.any()


def test_an_empty_reference_wants_an_empty_mask():
    probability = np.full((3, 3, 3), 0.5, np.float32)
    surface = dice_surface(probability, np.zeros((3, 3, 3), bool), 1.0)
    assert surface_at(surface, 0.55, 0.0) == 1
    assert surface_at(surface, 0.5, 0.0) == 0


def test_the_highest_mean_dice_is_chosen_and_of_equals_the_first():
    mean = np.zeros((len(THRESHOLDS), len(MIN_LESIONS_MM3)))
    mean[4, 2] = mean[5, 1] = 0.9
    best = _best("wmh", mean)
    assert (best.threshold, best.min_lesion_mm3) == (THRESHOLDS[4], MIN_LESIONS_MM3[2])
