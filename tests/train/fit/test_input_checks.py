"""What a training refuses, and what it warns of."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.networks import small_unet_recipe
from tests.training_toys import metadata_of, small_recipe
from wmh_runtime.errors import RecipeError
from wmh_train.data.split import Split
from wmh_train.fit.input_checks import (
    require_disjoint_split,
    require_start,
    validation_warnings,
)
from wmh_train.initial_weights import InitialWeights
from wmh_train.model.pretrained import PretrainedIdentity, PretrainedWeights


def test_a_u_net_takes_no_pretrained_encoder():
    weights = PretrainedWeights(PretrainedIdentity(name="sam.pth", sha256="0" * 64), {})
    with pytest.raises(RecipeError, match="has a U-Net, which takes no pretrained encoder"):
        require_start(small_unet_recipe(), weights, None)
    require_start(small_unet_recipe(), None, None)


def test_statistics_that_are_fixed_from_the_start_need_a_start():
    schedule = small_recipe().schedule.model_copy(update={"batch_statistics_epochs": 0})
    recipe = small_recipe(schedule=schedule.model_dump())
    with pytest.raises(RecipeError, match="never measures the statistics of BatchNorm"):
        require_start(recipe, None, None)
    require_start(recipe, None, start_of(small_recipe(), {}))


def start_of(recipe, trained):
    """Weights that were trained on scans, given as keys by name."""
    split = Split(training=list(trained), validation=[], test=[])
    origin = metadata_of(recipe).model_copy(update={"split": split, "scan_keys": trained})
    return InitialWeights(PretrainedIdentity(name="base", sha256="0" * 64), {}, origin)


def test_one_scan_under_two_names_is_not_on_both_sides():
    split = Split(training=["a", "b"], validation=["c"], test=[])
    require_disjoint_split(split, {"a": "1", "b": "2", "c": "3"})
    with pytest.raises(RecipeError, match="b and c are the same scan, one for training"):
        require_disjoint_split(split, {"a": "1", "b": "3", "c": "3"})


def slices_of(subjects, empty=0):
    """One slice of each scan; the last ones have an empty mask."""
    scans = [
        SimpleNamespace(name=f"{subject}{number}", subject=subject, site="", channels=())
        for number, subject in enumerate(subjects)
    ]
    numbers = np.arange(len(scans))
    return SimpleNamespace(scans=scans, scan_of=numbers, with_target=numbers < len(scans) - empty)


def test_persons_with_lesions_are_counted_in_the_validation_not_scans():
    few = "with a mask that is not empty: best epoch, threshold and Dice may depend on chance"
    assert validation_warnings(slices_of("a"), slices_of("bcdef"), None, {}) == []
    for validation, persons in ((slices_of("bbccdd"), 3), (slices_of("bcdef", empty=1), 4)):
        (warning,) = validation_warnings(slices_of("a"), validation, None, {})
        assert warning.startswith(f"only {persons} validation persons {few}")
    (warning,) = validation_warnings(slices_of("a"), slices_of("bcdefgh", empty=7), None, {})
    assert warning.startswith("the masks of all validation scans are empty")


def test_validation_scans_that_the_start_was_trained_on_are_named():
    slices = slices_of("abcdefghij")
    scans = slices.scans
    keys = {scan.name: f"key of {scan.name}" for scan in scans}
    trained = {"x": "key of a0", "y": "key of j9", "z": "another"}
    start = start_of(small_recipe(), trained)
    (warning,) = validation_warnings(slices, slices, start, keys)
    assert warning.startswith("base was trained on 2 of the 10 validation scans")
    assert validation_warnings(slices, slices, start_of(small_recipe(), {}), keys) == []
