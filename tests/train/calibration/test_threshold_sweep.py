import itertools

import numpy as np
import pytest

from wmh_runtime.evaluation.metrics import compare_masks
from wmh_runtime.imageio.reference_masks import Reference
from wmh_runtime.postprocessing.lesions import find_lesions
from wmh_train.calibration.threshold_sweep import (
    MIN_LESIONS_MM3,
    THRESHOLDS,
    ThresholdSweep,
    mean_of_sites,
    sweep_thresholds,
)


def sweep_of(probability, lesion, voxel_volume_mm3=1.0, ignored=None):
    if ignored is None:
        ignored = np.zeros_like(lesion)
    return sweep_thresholds(probability, Reference(lesion, ignored), voxel_volume_mm3)


def scores_at(sweep, threshold, min_lesion_mm3):
    index = THRESHOLDS.index(threshold), MIN_LESIONS_MM3.index(min_lesion_mm3)
    return pytest.approx(sweep.dice[index]), pytest.approx(sweep.lesion_f1[index])


def two_lesions():
    """A true lesion of 4 voxels at 0.8 and a false one of 1 voxel at 0.6."""
    probability = np.zeros((6, 6, 6), np.float32)
    probability[1, 1, 0:4] = 0.8
    probability[4, 4, 4] = 0.6
    return probability, probability == np.float32(0.8)


def test_the_scores_of_two_lesions():
    sweep = sweep_of(*two_lesions(), voxel_volume_mm3=2.0)
    # One of two predicted lesions is true: precision ½, recall 1, F1 ⅔.
    assert scores_at(sweep, 0.5, 0.0) == (2 * 4 / (5 + 4), 2 / 3)
    assert scores_at(sweep, 0.5, 3.0) == (1, 1)  # the false lesion of 2 mm³ is removed
    assert scores_at(sweep, 0.7, 0.0) == (1, 1)
    assert scores_at(sweep, 0.5, 9.0) == (0, 0)  # the true one of 8 mm³, too: precision 1, recall 0
    assert scores_at(sweep, 0.9, 0.0) == (0, 0)


def test_one_lesion_can_touch_several_of_the_other_mask():
    lesion = np.zeros((9, 3, 3), bool)
    lesion[[0, 1, 3, 4], 1, 1] = True  # two true lesions
    prediction = np.zeros((9, 3, 3), np.float32)
    prediction[0:5, 1, 1] = 0.8  # one predicted lesion across both
    prediction[7, 1, 1] = 0.8  # and a false lesion
    # Recall 2 of 2, precision 1 of 2.
    assert scores_at(sweep_of(prediction, lesion), 0.5, 0.0)[1] == 2 / 3
    swapped = sweep_of(lesion.astype(np.float32), prediction > 0)
    # Two predicted lesions in one true lesion, another one missed: recall ½, precision 1.
    assert scores_at(swapped, 0.5, 0.0)[1] == 2 / 3


@pytest.mark.parametrize("seed", range(4))
def test_all_scores_equal_those_of_wmh_eval(seed):
    rng = np.random.default_rng(seed)
    probability = np.round(rng.random((9, 8, 7)) ** 3, 2).astype(np.float32)
    labels = rng.choice([0, 0, 0, 1, 2], size=probability.shape)
    reference = Reference(labels == 1, labels == 2)
    brain = rng.random(probability.shape) < 0.6
    sweep = sweep_thresholds(probability, reference, 1.5, brain)
    for index in itertools.product((0, 5, 11), (0, 1, 2, 4)):
        lesions = find_lesions(
            probability,
            threshold=THRESHOLDS[index[0]],
            min_lesion_mm3=MIN_LESIONS_MM3[index[1]],
            voxel_volume_mm3=1.5,
            brain=brain,
        )
        metrics = compare_masks(lesions.mask, reference, np.diag([1, -1, 1.5, 1]))
        assert sweep.dice[index] == pytest.approx(metrics.dice)
        assert sweep.lesion_f1[index] == pytest.approx(metrics.lesion_f1)


def test_the_minimum_size_applies_to_the_lesion_with_ignored_voxels():
    # A row of 8 voxels of 1 mm³ is predicted. In the reference, the middle 6 are other pathology,
    # the first and the last are lesion. Two parts of 1 mm³ remain, of a lesion of 8 mm³.
    probability = np.zeros((10, 3, 3), np.float32)
    probability[1:9, 1, 1] = 0.8
    ignored, lesion = np.zeros((2, 10, 3, 3), bool)
    ignored[2:8, 1, 1] = True
    lesion[[1, 8], 1, 1] = True
    sweep = sweep_of(probability, lesion, ignored=ignored)
    assert scores_at(sweep, 0.5, 6.0) == (1, 1)
    assert scores_at(sweep, 0.5, 9.0) == (0, 0)  # 8 mm³ are not enough


def test_parts_of_one_lesion_are_counted_separately():
    # As above, but only the first part is a lesion. One of two parts is true: precision ½,
    # recall 1, F1 ⅔. One of two voxels is true: Dice 2 · 1 / (2 + 1).
    probability = np.zeros((10, 3, 3), np.float32)
    probability[1:9, 1, 1] = 0.8
    ignored, lesion = np.zeros((2, 10, 3, 3), bool)
    ignored[2:8, 1, 1] = True
    lesion[1, 1, 1] = True
    assert scores_at(sweep_of(probability, lesion, ignored=ignored), 0.5, 3.0) == (2 / 3, 2 / 3)


def test_other_pathology_is_not_counted():
    probability, lesion = two_lesions()
    ignored = np.zeros_like(lesion)
    ignored[4, 4, 4] = True  # at the false lesion
    assert scores_at(sweep_of(probability, lesion, ignored=ignored), 0.5, 0.0) == (1, 1)


def test_the_memory_order_of_arrays_does_not_matter():
    rng = np.random.default_rng(0)
    probability = rng.random((5, 6, 7)).astype(np.float32)
    lesion = rng.random((5, 6, 7)) > 0.7
    one = sweep_of(np.asfortranarray(probability), lesion)
    other = sweep_of(probability, np.asfortranarray(lesion))
    np.testing.assert_array_equal(one.dice, other.dice)
    np.testing.assert_array_equal(one.lesion_f1, other.lesion_f1)


def test_an_empty_prediction_has_scores_of_0():
    sweep = sweep_of(np.zeros((3, 3, 3), np.float32), np.ones((3, 3, 3), bool))
    assert not sweep.dice.any()
    assert not sweep.lesion_f1.any()


def test_with_an_empty_reference_only_an_empty_mask_scores_1():
    sweep = sweep_of(np.full((3, 3, 3), 0.5, np.float32), np.zeros((3, 3, 3), bool))
    assert scores_at(sweep, 0.55, 0.0) == (1, 1)
    assert scores_at(sweep, 0.5, 0.0) == (0, 0)


def flat_sweep(dice=0.0, lesion_f1=0.0, *, has_lesions=True):
    shape = len(THRESHOLDS), len(MIN_LESIONS_MM3)
    return ThresholdSweep(np.full(shape, dice), np.full(shape, lesion_f1), has_lesions)


def test_the_largest_dice_wins_and_the_first_of_equal_values():
    mean = flat_sweep()
    for index, dice, lesion_f1 in [((4, 2), 0.9, 0.3), ((5, 1), 0.9, 0.3), ((7, 0), 0.8, 0.8)]:
        mean.dice[index], mean.lesion_f1[index] = dice, lesion_f1
    assert mean.best() == (4, 2)


def test_each_site_counts_the_same():
    # The scans of A have a mean of 0.4 and 0.75.
    sweeps = [flat_sweep(0.2, 0.5), flat_sweep(0.8, 0.25), flat_sweep(0.6, 1.0)]
    mean = scores_at(mean_of_sites(sweeps, "ABA"), 0.5, 3.0)
    assert mean == pytest.approx(((0.4 + 0.8) / 2, (0.75 + 0.25) / 2))


def test_scans_without_lesions_count_only_if_there_are_no_others():
    empty = flat_sweep(1, 1, has_lesions=False)
    assert scores_at(mean_of_sites([flat_sweep(0.2, 0.5), empty], "AA"), 0.5, 3.0) == (0.2, 0.5)
    assert scores_at(mean_of_sites([empty, empty], "AB"), 0.5, 3.0) == (1, 1)


def test_a_sweep_knows_whether_its_reference_has_lesions():
    probability, lesion = np.full((3, 3, 3), 0.5, np.float32), np.zeros((3, 3, 3), bool)
    assert not sweep_of(probability, lesion).has_lesions
    lesion[1, 1, 1] = True
    assert sweep_of(probability, lesion).has_lesions
