import json

import pytest
import torch
from safetensors.torch import load_file

from tests.training_toys import lora_recipe, metadata_of, small_recipe, write_small_pretrained
from wmh_runtime.errors import RecipeError
from wmh_train.checkpoint import (
    load_metadata,
    load_network,
    pretrained_file,
    save_checkpoint,
    stored_tensors,
    weights_path,
)
from wmh_train.initial_weights import read_initial_weights
from wmh_train.model.network import build_network
from wmh_train.model.pretrained import read_pretrained
from wmh_train.model.random_pretrained import write_random_pretrained


def perturb(network):
    """Change all trained tensors and buffers, so that the test detects one that is not stored."""
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name not in frozen:
                tensor.add_(torch.randn(tensor.shape).abs().to(tensor.dtype))
    return network


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return read_pretrained(
        write_small_pretrained(tmp_path_factory.mktemp("pretrained") / "pretrained.pth")
    )


@pytest.fixture
def adapted(pretrained, tmp_path):
    """A perturbed network with adapters and pretrained weights, and its checkpoint."""
    recipe = lora_recipe()
    network = perturb(build_network(recipe, pretrained)).eval()
    return network, save_checkpoint(tmp_path, network, metadata_of(recipe, pretrained.identity))


def test_a_checkpoint_predicts_the_same_bits_whenever_it_is_loaded(adapted, pretrained, tmp_path):
    network, metadata = adapted
    image = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        first = load_network(tmp_path, load_metadata(tmp_path), pretrained.path)(image).fused
        second = load_network(tmp_path, load_metadata(tmp_path), pretrained.path)(image).fused
        assert torch.equal(first, second)
        # float16 has 11 bits. If a tensor were missing, the difference would be much larger.
        torch.testing.assert_close(first, network(image).fused, rtol=0.02, atol=0.02)
    assert load_metadata(tmp_path) == metadata


def test_trained_tensors_are_stored_in_float16_and_statistics_in_float32(adapted, tmp_path):
    network, _ = adapted
    stored = load_file(weights_path(tmp_path, load_metadata(tmp_path)))
    for name, parameter in network.named_parameters():
        assert (name in stored) == parameter.requires_grad, name
    for name, tensor in stored.items():
        statistic = name.endswith(("running_mean", "running_var"))
        counter = name.endswith("num_batches_tracked")
        expected = torch.float32 if statistic else torch.int64 if counter else torch.float16
        assert tensor.dtype == expected, name
        if statistic:
            assert torch.equal(tensor, network.state_dict()[name])


def test_a_trained_encoder_is_stored_completely(tmp_path):
    network = build_network(small_recipe())
    save_checkpoint(tmp_path, network, metadata_of(small_recipe()))
    assert (
        load_file(weights_path(tmp_path, load_metadata(tmp_path))).keys()
        == network.state_dict().keys()
    )


def test_different_pretrained_weights_are_refused(adapted, tmp_path):
    _, metadata = adapted
    write_random_pretrained(tmp_path / "other.pth", metadata.recipe.network.encoder, seed=1)
    with pytest.raises(
        RecipeError, match=r"other\.pth: has SHA-256 .* was trained with pretrained\.pth"
    ):
        load_network(tmp_path, metadata, tmp_path / "other.pth")


def test_missing_or_unnecessary_pretrained_weights_are_refused(adapted, pretrained, tmp_path):
    _, metadata = adapted
    with pytest.raises(
        RecipeError,
        match=r"needs the pretrained weights pretrained\.pth, which it does not contain",
    ):
        load_network(tmp_path, metadata)
    whole = tmp_path / "whole"
    recipe = small_recipe()
    metadata = save_checkpoint(whole, build_network(recipe), metadata_of(recipe))
    with pytest.raises(RecipeError, match=r"needs no pretrained weights\. Leave them out"):
        load_network(whole, metadata, pretrained.path)


def test_pretrained_weights_are_needed_only_for_a_frozen_encoder(pretrained):
    # `fit` and `cross_validate` call it for both kinds of encoder.
    assert (
        pretrained_file(metadata_of(lora_recipe(), pretrained.identity), pretrained)
        == pretrained.path
    )
    assert pretrained_file(metadata_of(small_recipe()), pretrained) is None
    assert pretrained_file(metadata_of(small_recipe()), None) is None


def test_weights_that_do_not_match_the_metadata_are_refused(tmp_path):
    recipe = small_recipe()
    metadata = save_checkpoint(tmp_path, build_network(recipe), metadata_of(recipe))
    other = save_checkpoint(tmp_path / "other", perturb(build_network(recipe)), metadata_of(recipe))
    weights_path(tmp_path / "other", other).replace(weights_path(tmp_path, metadata))
    with pytest.raises(RecipeError, match=r"has SHA-256 .* checkpoint\.json expects"):
        load_network(tmp_path, metadata)


def test_a_checkpoint_is_valid_until_the_metadata_of_the_next_is_written(tmp_path, monkeypatch):
    recipe = small_recipe()
    before = save_checkpoint(tmp_path, build_network(recipe), metadata_of(recipe))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("wmh_train.checkpoint.save_metadata", killed)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, perturb(build_network(recipe)), metadata_of(recipe))
    load_network(tmp_path, load_metadata(tmp_path))
    after = save_checkpoint(tmp_path, perturb(build_network(recipe)), metadata_of(recipe))
    assert after.weights_sha256 != before.weights_sha256
    assert list(tmp_path.glob("*.safetensors")) == [weights_path(tmp_path, after)]


def test_weights_of_another_recipe_are_refused(tmp_path):
    metadata = save_checkpoint(tmp_path, build_network(small_recipe()), metadata_of(small_recipe()))
    decoder = metadata.recipe.network.decoder.model_copy(update={"detail_width": 0})
    network = metadata.recipe.network.model_copy(update={"decoder": decoder})
    recipe = metadata.recipe.model_copy(update={"network": network})
    with pytest.raises(RecipeError, match="tensors that do not fit the recipe"):
        load_network(tmp_path, metadata.model_copy(update={"recipe": recipe}))


def test_damaged_weights_are_refused(tmp_path):
    recipe = small_recipe()
    metadata = save_checkpoint(tmp_path, build_network(recipe), metadata_of(recipe))
    path = weights_path(tmp_path, metadata)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RecipeError, match=r"\.safetensors: cannot be read"):
        load_network(tmp_path, metadata)


def test_weights_beyond_half_precision_are_refused(tmp_path):
    network = build_network(small_recipe())
    with torch.no_grad():
        network.decoder.heads[0].bias.fill_(1e5)  # the largest float16 is 65504
    with pytest.raises(RecipeError, match=r"decoder\.heads\.0\.bias does not fit into half"):
        save_checkpoint(tmp_path, network, metadata_of(small_recipe()))
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_valid_checkpoint_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="is not a checkpoint folder"):
        load_metadata(tmp_path)
    (tmp_path / "checkpoint.json").write_text("{}")
    with pytest.raises(RecipeError, match="not a checkpoint of this version"):
        load_metadata(tmp_path)


def test_a_checkpoint_of_version_0_1_is_refused(tmp_path):
    old = metadata_of(small_recipe()).model_dump(mode="json")
    old["schema_version"] = 2
    old["base"] = old.pop("pretrained")
    old["recipe"]["schedule"]["slices_at_once"] = old["recipe"]["schedule"].pop("micro_batch_size")
    (tmp_path / "checkpoint.json").write_text(json.dumps(old))
    problem = "is not a checkpoint of this version: schema_version: "
    with pytest.raises(RecipeError, match=problem) as raised:
        load_metadata(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_training_can_start_from_the_weights_of_a_checkpoint(tmp_path):
    recipe = small_recipe()
    network = perturb(build_network(recipe))
    save_checkpoint(tmp_path, network, metadata_of(recipe))
    started = build_network(recipe)
    read_initial_weights(tmp_path).load_into(started)
    for name, tensor in stored_tensors(network).items():
        torch.testing.assert_close(started.state_dict()[name], tensor, check_dtype=False)


def test_weights_of_another_network_are_refused_as_a_start(tmp_path):
    save_checkpoint(tmp_path, build_network(small_recipe()), metadata_of(small_recipe()))
    other = build_network(small_recipe(outputs=["wmh", "stroke"]))
    with pytest.raises(RecipeError, match="has other layers than the recipe"):
        read_initial_weights(tmp_path).load_into(other)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"regions": ["ventricles", "brain"]}, "regions"),
        ({"outputs": ["stroke"]}, "outputs"),
        (
            {"preprocessing": small_recipe().preprocessing.model_dump() | {"pixel_size_mm": 2.0}},
            "preprocessing",
        ),
    ],
)
def test_weights_that_would_mean_something_else_are_refused_as_a_start(tmp_path, changed, named):
    recipe = small_recipe(regions=["brain", "ventricles"])
    save_checkpoint(tmp_path, build_network(recipe), metadata_of(recipe))
    start = read_initial_weights(tmp_path)
    start.require_same_task(recipe, None)
    other = small_recipe(**{"regions": ["brain", "ventricles"]} | changed)
    with pytest.raises(RecipeError, match=f"was trained with {named} .* the recipe has"):
        start.require_same_task(other, None)


def test_a_bundle_without_checkpoint_is_no_start():
    with pytest.raises(RecipeError, match="demo: holds no weights to train from"):
        read_initial_weights("demo")
