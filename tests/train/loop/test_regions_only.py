"""A network of regions only: what its loss, validation, sampling and calibration look at."""

import numpy as np
import pytest
import torch

from tests.toys import write_annotated_heads
from tests.training_toys import SMALL_RECIPE, fit_data, small_recipe
from wmh_runtime.errors import RecipeError
from wmh_train.calibration.calibrate import calibrate_checkpoint
from wmh_train.cross_validation import FoldListener, cross_validate
from wmh_train.data.cache import fill_cache, open_cache
from wmh_train.data.layouts import find_dataset
from wmh_train.fit.fit import FitListener, fit
from wmh_train.loop.distributed import open_accelerator
from wmh_train.loop.losses import SegmentationLoss
from wmh_train.loop.validation import validation_dice
from wmh_train.model.decoder import Logits
from wmh_train.recipe.recipe import LossSettings

REGIONS = {"outputs": [], "regions": ["spots"]}


def test_a_recipe_needs_outputs_or_regions():
    assert small_recipe(**REGIONS).targets == ["spots"]
    with pytest.raises(ValueError, match="both empty"):
        small_recipe(outputs=[], regions=[])


def test_the_loss_is_that_of_the_regions():
    generator = torch.Generator().manual_seed(0)
    fused = torch.randn(2, 1, 8, 8, generator=generator)
    target = torch.randint(2, (2, 1, 8, 8), generator=generator)
    scales = [torch.randn(2, 1, 4, 4, generator=generator)]
    settings = LossSettings(boundary_weight=0, region_weight=0.25, scale_weights=[1.0])
    apart = SegmentationLoss(settings, lesion_outputs=0)(Logits(fused, scales), target)
    plain = LossSettings(boundary_weight=0, scale_weights=[])
    as_lesion = SegmentationLoss(plain, lesion_outputs=1)(Logits(fused, []), target)
    assert apart.total.item() == pytest.approx(0.25 * as_lesion.total.item())
    assert apart.regions == apart.total
    assert apart.focal == apart.dice == apart.scales == 0


def test_slices_with_a_region_are_targets(tmp_path):
    recipe = small_recipe(**REGIONS)
    heads = write_annotated_heads(tmp_path, 2, outputs=("SPOTS",))
    found = find_dataset(heads, recipe.channels, recipe.outputs, recipe.regions)
    slices = open_cache(found.scans, recipe.preprocessing, tmp_path / "cache")
    assert np.flatnonzero(slices.with_target).tolist() == [2, 3, 8, 9]  # as those of lesions


def test_scans_without_a_mask_of_a_region_are_no_annotated_scans(tmp_path):
    heads = write_annotated_heads(tmp_path, 1)
    with pytest.raises(RecipeError, match="has a mask of spots"):
        find_dataset(heads, ["flair"], [], ["spots"])


def test_validation_leaves_regions_without_a_mask_out(tmp_path):
    recipe = small_recipe(outputs=[], regions=["spots", "unknown"])
    heads = write_annotated_heads(tmp_path, 2, outputs=("SPOTS",))
    scans = find_dataset(heads, recipe.channels, recipe.outputs, recipe.regions).scans
    fill_cache(scans, recipe.preprocessing, tmp_path / "cache", lambda: None)
    slices = open_cache(scans, recipe.preprocessing, tmp_path / "cache")

    def predict_nothing(images):
        return Logits(torch.full((len(images), 2, 64, 64), -1.0), [])

    scores = validation_dice(predict_nothing, slices, recipe, open_accelerator(recipe))
    assert scores.mean == 0  # with the unknown region it would be 0.5: nothing found, nothing there


def test_it_is_trained_and_calibrated(tmp_path):
    network = {"unet": {"widths": [4, 8, 12]}}
    loss = {"scale_weights": [], "focal_alpha": 0.9, "region_weight": 1.0}
    schedule = SMALL_RECIPE["schedule"] | {"epochs": 6}
    recipe = small_recipe(**REGIONS, network=network, loss=loss, schedule=schedule)
    data = fit_data(write_annotated_heads(tmp_path / "heads", 8, outputs=("SPOTS",)), recipe)
    trained = fit(recipe, data, tmp_path / "run", None, FitListener())
    assert trained.validation.mean > 0.3
    calibration = calibrate_checkpoint(tmp_path / "run", data.scans, None, lambda: None)
    assert calibration.scans == len(data.split.validation)
    assert [point.outputs for point in calibration.operating_points] == [[], []]


def test_cross_validation_refuses_it(tmp_path):
    recipe = small_recipe(**REGIONS)
    heads = write_annotated_heads(tmp_path / "heads", 4, outputs=("SPOTS",))
    found = find_dataset(heads, recipe.channels, recipe.outputs, recipe.regions)
    with pytest.raises(RecipeError, match="regions only"):
        cross_validate(recipe, found, 2, tmp_path / "run", None, FoldListener())
