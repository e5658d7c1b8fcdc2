import itertools

import numpy as np
import pytest

from wmh_runtime.evaluation.metrics import compare_masks
from wmh_runtime.evaluation.reference_masks import Reference
from wmh_runtime.postprocessing.lesions import find_lesions
from wmh_train.calibration.threshold_sweep import (
    MIN_LESIONS_MM3,
    THRESHOLDS,
    Surface,
    agreement_surface,
    mean_surface,
)


def surface_of(probability, lesion, voxel_volume_mm3=1.0, ignored=None):
    if ignored is None:
        ignored = np.zeros_like(lesion)
    return agreement_surface(probability, Reference(lesion, ignored), voxel_volume_mm3)


def at(surface, threshold, min_lesion_mm3):
    place = THRESHOLDS.index(threshold), MIN_LESIONS_MM3.index(min_lesion_mm3)
    return pytest.approx(surface.dice[place]), pytest.approx(surface.lesion_f1[place])


def two_lesions():
    """A true lesion of 4 voxels at 0.8 and a false one of 1 voxel at 0.6."""
    probability = np.zeros((6, 6, 6), np.float32)
    probability[1, 1, 0:4] = 0.8
    probability[4, 4, 4] = 0.6
    return probability, probability == np.float32(0.8)


def test_the_surface_by_hand():
    surface = surface_of(*two_lesions(), voxel_volume_mm3=2.0)
    # Of two found lesions one is true: precision ½, recall 1, F1 ⅔.
    assert at(surface, 0.5, 0.0) == (2 * 4 / (5 + 4), 2 / 3)
    assert at(surface, 0.5, 3.0) == (1, 1)  # the false one, 2 mm³, is gone
    assert at(surface, 0.7, 0.0) == (1, 1)
    assert at(surface, 0.5, 9.0) == (0, 0)  # the true one, 8 mm³, too: precision 1, recall 0
    assert at(surface, 0.9, 0.0) == (0, 0)


def test_one_found_lesion_may_touch_two_true_ones_and_the_other_way_round():
    lesion = np.zeros((9, 3, 3), bool)
    lesion[[0, 1, 3, 4], 1, 1] = True  # two true lesions
    bridge = np.zeros((9, 3, 3), np.float32)
    bridge[0:5, 1, 1] = 0.8  # one found across both
    bridge[7, 1, 1] = 0.8  # and a false one
    # Recall 2 of 2, precision 1 of 2.
    assert at(surface_of(bridge, lesion), 0.5, 0.0)[1] == 2 / 3
    swapped = surface_of(lesion.astype(np.float32), bridge > 0)
    # Two found in one true one, another missed: recall ½, precision 1.
    assert at(swapped, 0.5, 0.0)[1] == 2 / 3


@pytest.mark.parametrize("seed", range(4))
def test_every_point_is_what_wmh_eval_says_of_the_mask_that_wmh_infer_writes(seed):
    rng = np.random.default_rng(seed)
    probability = np.round(rng.random((9, 8, 7)) ** 3, 2).astype(np.float32)
    labels = rng.choice([0, 0, 0, 1, 2], size=probability.shape)
    reference = Reference(labels == 1, labels == 2)
    surface = agreement_surface(probability, reference, 1.5)
    for place in itertools.product((0, 5, 11), (0, 1, 2, 4)):
        lesions = find_lesions(
            probability,
            threshold=THRESHOLDS[place[0]],
            min_lesion_mm3=MIN_LESIONS_MM3[place[1]],
            voxel_volume_mm3=1.5,
        )
        metrics = compare_masks(lesions.mask, reference, np.diag([1, -1, 1.5, 1]))
        assert surface.dice[place] == pytest.approx(metrics.dice)
        assert surface.lesion_f1[place] == pytest.approx(metrics.lesion_f1)


def test_a_lesion_is_as_large_as_it_was_found_however_much_is_other_pathology():
    # A row of 8 voxels of 1 mm³ is found. Of its middle 6 the reference says other pathology, of
    # its first and last that they are lesions: two pieces of 1 mm³ remain, each of a lesion of 8.
    probability = np.zeros((10, 3, 3), np.float32)
    probability[1:9, 1, 1] = 0.8
    ignored, lesion = np.zeros((2, 10, 3, 3), bool)
    ignored[2:8, 1, 1] = True
    lesion[[1, 8], 1, 1] = True
    surface = surface_of(probability, lesion, ignored=ignored)
    assert at(surface, 0.5, 6.0) == (1, 1)
    assert at(surface, 0.5, 9.0) == (0, 0)  # 8 mm³ are too few


def test_pieces_of_one_lesion_are_counted_apart():
    # As before, but only the first piece is a lesion: of two pieces one is true, precision ½,
    # recall 1, F1 ⅔; of two voxels one is true, Dice 2 · 1 / (2 + 1).
    probability = np.zeros((10, 3, 3), np.float32)
    probability[1:9, 1, 1] = 0.8
    ignored, lesion = np.zeros((2, 10, 3, 3), bool)
    ignored[2:8, 1, 1] = True
    lesion[1, 1, 1] = True
    assert at(surface_of(probability, lesion, ignored=ignored), 0.5, 3.0) == (2 / 3, 2 / 3)


def test_other_pathology_is_no_ones_lesion():
    probability, lesion = two_lesions()
    ignored = np.zeros_like(lesion)
    ignored[4, 4, 4] = True  # where the false lesion was found
    assert at(surface_of(probability, lesion, ignored=ignored), 0.5, 0.0) == (1, 1)


def test_the_memory_order_of_arrays_does_not_matter():
    rng = np.random.default_rng(0)
    probability = rng.random((5, 6, 7)).astype(np.float32)
    lesion = rng.random((5, 6, 7)) > 0.7
    one = surface_of(np.asfortranarray(probability), lesion)
    other = surface_of(probability, np.asfortranarray(lesion))
    np.testing.assert_array_equal(one.dice, other.dice)
    np.testing.assert_array_equal(one.lesion_f1, other.lesion_f1)


def test_a_network_that_finds_nothing_scores_nothing():
    surface = surface_of(np.zeros((3, 3, 3), np.float32), np.ones((3, 3, 3), bool))
    assert not surface.dice.any()
    assert not surface.lesion_f1.any()


def test_an_empty_reference_wants_an_empty_mask():
    surface = surface_of(np.full((3, 3, 3), 0.5, np.float32), np.zeros((3, 3, 3), bool))
    assert at(surface, 0.55, 0.0) == (1, 1)
    assert at(surface, 0.5, 0.0) == (0, 0)


def flat_surface(dice=0.0, lesion_f1=0.0):
    shape = len(THRESHOLDS), len(MIN_LESIONS_MM3)
    return Surface(np.full(shape, dice), np.full(shape, lesion_f1))


def test_the_best_is_chosen_by_the_recipes_weights_and_of_equals_the_first():
    mean = flat_surface()
    for place, dice, lesion_f1 in [((4, 2), 0.9, 0.3), ((5, 1), 0.9, 0.3), ((7, 0), 0.8, 0.8)]:
        mean.dice[place], mean.lesion_f1[place] = dice, lesion_f1
    assert mean.best(lesion_f1_weight=0) == (4, 2)
    # ½ · 0.9 + ½ · 0.3 = 0.6 < ½ · 0.8 + ½ · 0.8
    assert mean.best(lesion_f1_weight=0.5) == (7, 0)


def test_surfaces_are_averaged_scan_by_scan():
    mean = mean_surface([flat_surface(0.2, 0.5), flat_surface(0.6, 1.0)])
    assert at(mean, 0.5, 3.0) == (0.4, 0.75)
