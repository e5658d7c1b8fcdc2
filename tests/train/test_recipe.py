import pytest

from wmh_runtime.errors import RecipeError
from wmh_train.recipe.recipe import load_recipe, shipped_recipes
from wmh_train.recipe.template import recipe_to_toml


def changed(tmp_path, before, after):
    """Write the tiny recipe with a part of its text replaced."""
    from importlib import resources

    text = (resources.files("wmh_train") / "recipes" / "tiny.toml").read_text("utf-8")
    assert before in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(before, after), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_loads_and_has_its_file_name(name):
    assert load_recipe(name).name == name


def test_the_error_for_an_unknown_recipe_lists_the_shipped_ones():
    with pytest.raises(RecipeError, match=r"nonesuch.*one of: .*tiny"):
        load_recipe("nonesuch")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("empty_slices = ", "empty_slice = ", "data.empty_slice is unknown"),
        ("micro_batch_size", "slices_at_once", "schedule.slices_at_once is unknown"),  # version 0.1
        ("epochs = ", "epochs = -", "schedule.epochs"),
        ("patch_px = 16", "patch_px = 8", "4 decoder widths"),
        (
            "scale_weights = [0.2, 0.2, 0.1, 0.1]",
            "scale_weights = [1.0]",
            "1 loss.scale_weights, expected 4",
        ),
        ("[data]", "[data", "is not valid TOML"),
        ('["wmh"]', '["deep_wmh"]', "outputs.0"),
        ('["wmh"]', '["wmh", "wmh"]', "contains a name twice"),
        ("heads = 2", "heads = 3", "not a multiple of heads"),
        ("[1, 3]", "[1, 4]", "not all below depth"),
        ("2e-3", "inf", "learning_rate"),
        ("2e-3", "1e-6", "lowest_learning_rate 2e-06 is above optimizer.learning_rate 1e-06"),
        ("warmup_epochs = 0.25", "warmup_epochs = 3", "warmup_epochs 3 must be less than epochs 3"),
        ("micro_batch_size = 8", "micro_batch_size = 3", "not a multiple of micro_batch_size 3"),
        ("[0.2, 0.2, 0.1, 0.1]", "[0.2, 0.2, 0.1, -0.1]", "loss.scale_weights.3"),
        ("[data]", "[network.lora]\nranks = { qkv = 0 }\n[data]", "lora.ranks.qkv"),
        ("gamma = [0.85, 1.2]", "gamma = [0, 1]", "augmentation.gamma"),
        ("noise = [0.0, 0.04]", "noise = [2, 1]", "augmentation.noise"),
        ("test_share = 0.0", "test_share = 0.95", "leave nothing for training"),
        ("[data]", "[network.lora]\nranks = { qkv = 4 }\n[data]", "frozen"),
        ("[data]", "[network.lora]\nranks = { qvk = 4 }\n[data]", "ranks"),
    ],
)
def test_an_error_names_the_field(tmp_path, before, after, message):
    with pytest.raises(RecipeError) as raised:
        load_recipe(changed(tmp_path, before, after))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_printed_recipe_is_complete_and_loads_as_the_same_recipe(tmp_path, name):
    recipe = load_recipe(name)
    text = recipe_to_toml(recipe)
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    assert load_recipe(path) == recipe
    assert "warmup_epochs = " in text
    assert ("# epoch_slices is not set  # slices drawn" in text) == (
        recipe.data.epoch_slices is None
    )
    assert "# slices per optimizer step" in text


def test_the_recipe_for_fine_tuning_has_the_network_of_base():
    base, fine_tune = load_recipe("base"), load_recipe("fine-tune")
    for part in ("network", "preprocessing", "channels", "targets"):
        assert getattr(fine_tune, part) == getattr(base, part)
