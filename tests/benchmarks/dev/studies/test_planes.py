"""The comparison of axial slices with three planes, with tiny networks and toy heads."""

import pytest

from benchmarks.dev.studies import planes as planes_study
from benchmarks.dev.studies.planes import RECIPE, compare_planes
from tests.toys import write_annotated_heads
from tests.training_toys import SMALL_RECIPE, small_recipe
from wmh_runtime.preprocessing.slices.planes import PLANES, planes_of
from wmh_train.checkpoint import load_metadata
from wmh_train.fit.fit import FitListener
from wmh_train.recipe.recipe import load_recipe

NETWORK = {"network": {"unet": {"widths": [4, 8, 12]}}, "loss": {"scale_weights": []}}


def test_the_recipe_is_of_axial_slices_and_can_have_three_planes():
    recipe = load_recipe(RECIPE)
    assert recipe.preprocessing.planes == ("axial",)
    three = planes_study._with_planes(recipe, PLANES)
    assert three.preprocessing.planes == PLANES
    assert three.model_dump(exclude={"preprocessing"}) == recipe.model_dump(
        exclude={"preprocessing"}
    )


def test_both_networks_are_scored_at_each_thickness(tmp_path, monkeypatch):
    # The toy heads have slices of 5 mm: here they count as isotropic.
    monkeypatch.setattr(planes_study, "is_isotropic", lambda scan: True)
    monkeypatch.setattr(planes_study, "_LEAST_LOAD_ML", 0.1)
    heads = write_annotated_heads(tmp_path / "heads", 6)
    base = small_recipe(**NETWORK, schedule=SMALL_RECIPE["schedule"] | {"epochs": 1})
    names, scores, used = [], [], []

    def show(score):
        scores.append(score)
        used.append(planes_of(PLANES, (10.0, 1.0, 1.0)))

    def begin(name):
        names.append(name)
        return FitListener()

    out = tmp_path / "out"
    compared = compare_planes(
        heads, heads, out, begin, show, most_heads=2, base=base, thicknesses_mm=(5, 10)
    )
    assert names == ["1-planes", "3-planes"]
    assert load_metadata(out / "3-planes").recipe.preprocessing.planes == PLANES
    assert compared.scores == scores
    axial, three = ["axial"], list(PLANES)
    assert [(one.trained_in, one.segmented_in) for one in scores] == [
        *2 * [(axial, axial)],
        *2 * [(three, axial)],
        *2 * [(three, three)],
    ]
    assert [one.mm for one in scores[:2]] == pytest.approx([5, 10])
    assert all(len(one.dice) == 2 for one in scores)
    # Thick slices were segmented in three planes, and the limit of the runtime is back.
    assert used == 6 * [PLANES]
    assert planes_of(PLANES, (10.0, 1.0, 1.0)) == ("axial",)
