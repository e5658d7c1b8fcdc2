from benchmarks.dev.studies import input_settings
from benchmarks.dev.studies.input_settings import RECIPE, compare_inputs, variants
from tests.toys import write_annotated_heads
from tests.training_toys import SMALL_RECIPE, small_recipe
from wmh_train.fit.fit import FitListener
from wmh_train.recipe.recipe import load_recipe

NETWORK = {"network": {"unet": {"widths": [4, 8, 12]}}, "loss": {"scale_weights": []}}


def test_the_recipes_differ_in_inputs_and_targets_only():
    base = load_recipe(RECIPE)
    named = {variant.name: variant.recipe(base) for variant in variants()}
    assert len(named) == 13
    assert named["t1-lesions"].channels == ["t1"]
    assert named["interchangeable-joint"].interchangeable
    assert named["one-shared-channel-lesions"].channels == ["flair"]
    assert named["flair-regions"].outputs == []
    assert named["flair-joint"].targets == ["wmh", *named["flair-regions"].regions]
    differing = {"channels", "interchangeable", "outputs", "regions"}
    rest = base.model_dump(exclude=differing)
    assert all(recipe.model_dump(exclude=differing) == rest for recipe in named.values())


def test_networks_are_scored_for_each_image_that_they_take(tmp_path, monkeypatch):
    heads = write_annotated_heads(tmp_path / "heads", 6, channels=("FLAIR", "T1w"))
    chosen = [one for one in variants() if one.either and one.task == "lesions"]
    monkeypatch.setattr(input_settings, "variants", lambda: chosen)
    monkeypatch.setattr(input_settings, "_LEAST_LOAD_ML", 0.1)
    base = small_recipe(**NETWORK, schedule=SMALL_RECIPE["schedule"] | {"epochs": 1})
    results = []
    arguments = (
        heads,
        heads,
        tmp_path / "out",
        lambda variant: FitListener(),
        results.append,
        base,
    )
    compare_inputs(*arguments)
    scores = results[-1].scores
    assert [(one.inputs, one.given) for one in scores] == [
        ("interchangeable", "flair+t1"),
        ("interchangeable", "flair"),
        ("interchangeable", "t1"),
        ("one-shared-channel", "flair"),
        ("one-shared-channel", "t1"),
    ]
    assert all(one.lesion_heads == one.heads == 6 for one in scores)
    # Each image of a head is a scan of its own for the shared channel.
    assert scores[3].training_heads == 2 * scores[0].training_heads
