import numpy as np
import pytest

from tests.toys import fit_data, small_recipe, write_annotated_heads
from wmh_runtime.errors import RecipeError
from wmh_runtime.lesions import find_lesions
from wmh_runtime.metrics import compare_masks
from wmh_runtime.reference import Reference
from wmh_train.calibrate import (
    MIN_LESIONS_MM3,
    THRESHOLDS,
    agreement_surface,
    best_of,
    calibrate_checkpoint,
)
from wmh_train.checkpoint import load_facts
from wmh_train.fit import FitListener, fit

DICE, LESION_F1 = 0, 1


def surface_of(probability, lesion, voxel_volume_mm3=1.0, ignored=None):
    if ignored is None:
        ignored = np.zeros_like(lesion)
    return agreement_surface(probability, Reference(lesion, ignored), voxel_volume_mm3)


def at(surface, threshold, min_lesion_mm3):
    point = surface[THRESHOLDS.index(threshold), MIN_LESIONS_MM3.index(min_lesion_mm3)]
    return pytest.approx(point[DICE]), pytest.approx(point[LESION_F1])


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


def test_every_point_is_what_the_metrics_say_of_that_mask():
    rng = np.random.default_rng(0)
    probability = np.round(rng.random((9, 8, 7)) ** 3, 2).astype(np.float32)
    labels = rng.choice([0, 0, 0, 1, 2], size=probability.shape)
    reference = Reference(labels == 1, labels == 2)
    surface = agreement_surface(probability, reference, 1.5)
    allowed = np.where(reference.ignored, np.float32(0), probability)
    for i in (0, 5, 11):
        for j in (0, 2, 4):
            mask = find_lesions(
                allowed,
                threshold=THRESHOLDS[i],
                min_lesion_mm3=MIN_LESIONS_MM3[j],
                voxel_volume_mm3=1.5,
            ).mask
            metrics = compare_masks(mask, reference, np.diag([1, 1, 1.5, 1]))
            assert surface[i, j, DICE] == pytest.approx(metrics.dice)
            assert surface[i, j, LESION_F1] == pytest.approx(metrics.lesion_f1)


def test_other_pathology_is_no_ones_lesion():
    probability, lesion = two_lesions()
    ignored = np.zeros_like(lesion)
    ignored[4, 4, 4] = True  # where the false lesion was found
    assert at(surface_of(probability, lesion, ignored=ignored), 0.5, 0.0) == (1, 1)


def test_the_memory_order_of_arrays_does_not_matter():
    rng = np.random.default_rng(0)
    probability = rng.random((5, 6, 7)).astype(np.float32)
    lesion = rng.random((5, 6, 7)) > 0.7
    np.testing.assert_array_equal(
        surface_of(np.asfortranarray(probability), lesion),
        surface_of(probability, np.asfortranarray(lesion)),
    )


def test_a_network_that_finds_nothing_scores_nothing():
    assert not surface_of(np.zeros((3, 3, 3), np.float32), np.ones((3, 3, 3), bool)).any()


def test_an_empty_reference_wants_an_empty_mask():
    surface = surface_of(np.full((3, 3, 3), 0.5, np.float32), np.zeros((3, 3, 3), bool))
    assert at(surface, 0.55, 0.0) == (1, 1)
    assert at(surface, 0.5, 0.0) == (0, 0)


def test_the_best_is_chosen_by_the_recipes_weights_and_of_equals_the_first():
    mean = np.zeros((len(THRESHOLDS), len(MIN_LESIONS_MM3), 2))
    mean[4, 2] = mean[5, 1] = (0.9, 0.3)
    mean[7, 0] = (0.8, 0.8)
    assert best_of(mean, lesion_f1_weight=0) == (4, 2)
    # ½ · 0.9 + ½ · 0.3 = 0.6 < ½ · 0.8 + ½ · 0.8
    assert best_of(mean, lesion_f1_weight=0.5) == (7, 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    heads = write_annotated_heads(folder / "heads", 8)
    schedule = small_recipe().schedule.model_copy(update={"epochs": 12, "restart_epochs": 11})
    recipe = small_recipe(schedule=schedule)
    data = fit_data(heads, recipe)
    fit(recipe, data, folder / "run", None, FitListener())
    return folder / "run", data


def test_a_checkpoint_is_calibrated_with_eight_views_and_with_one(trained):
    folder, data = trained
    scans = []
    chosen = calibrate_checkpoint(folder, data.scans, None, lambda: scans.append(1))
    assert load_facts(folder).calibration == chosen
    assert [choice.views for choice in chosen.choices] == [8, 1]
    assert len(scans) == chosen.scans == len(data.split.validation)
    assert len(chosen.surface) == 2 * len(THRESHOLDS) * len(MIN_LESIONS_MM3)
    for choice in chosen.choices:
        points = [point for point in chosen.surface if point.views == choice.views]
        assert choice.mean_dice[0] == pytest.approx(max(p.mean_dice for p in points), abs=1e-4)
        (output,) = choice.outputs
        (point,) = (
            p
            for p in points
            if (p.threshold, p.min_lesion_mm3) == (output.threshold, output.min_lesion_mm3)
        )
        assert choice.mean_lesion_f1[0] == pytest.approx(point.mean_lesion_f1, abs=1e-4)
    assert chosen.outputs == chosen.choices[0].outputs
    assert chosen.choices[0].mean_dice[0] > 0.5


def test_calibrating_twice_chooses_the_same(trained):
    folder, data = trained
    first, second = (calibrate_checkpoint(folder, data.scans, None, lambda: None) for _ in "12")
    assert first == second


def test_scans_that_are_not_there_are_told(trained):
    folder, data = trained
    with pytest.raises(RecipeError, match=r"2 of the checkpoint's validation scans are not there"):
        calibrate_checkpoint(folder, data.those(data.split.training), None, lambda: None)
