import pytest
import torch
from safetensors.torch import load_file

from tests.toys import facts_of, lora_recipe, small_recipe, write_small_base
from wmh_runtime.errors import RecipeError
from wmh_train.checkpoint import base_file, load_facts, load_network, save_checkpoint, weights_path
from wmh_train.model.base import read_base
from wmh_train.model.network import WmhNetwork
from wmh_train.model.random_base import write_random_base


def perturb(network):
    """Change every trained tensor and buffer, so that one that is not stored would show."""
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name not in frozen:
                tensor.add_(torch.randn(tensor.shape).abs().to(tensor.dtype))
    return network


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return read_base(write_small_base(tmp_path_factory.mktemp("base") / "base.pth"))


@pytest.fixture
def adapted(base, tmp_path):
    """A perturbed network with adapters on a base, and its checkpoint."""
    recipe = lora_recipe()
    network = perturb(WmhNetwork(recipe, base)).eval()
    return network, save_checkpoint(tmp_path, network, facts_of(recipe, base.identity))


def test_a_checkpoint_predicts_the_same_bits_each_time_it_is_loaded(adapted, base, tmp_path):
    network, facts = adapted
    image = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        once = load_network(tmp_path, load_facts(tmp_path), base.path)(image).fused
        again = load_network(tmp_path, load_facts(tmp_path), base.path)(image).fused
        assert torch.equal(once, again)
        # Half precision keeps eleven bits; without one of the tensors it would be far off.
        torch.testing.assert_close(once, network(image).fused, rtol=0.02, atol=0.02)
    assert load_facts(tmp_path) == facts


def test_only_what_was_trained_is_stored_in_half_and_statistics_in_full(adapted, tmp_path):
    network, _ = adapted
    stored = load_file(weights_path(tmp_path, load_facts(tmp_path)))
    for name, parameter in network.named_parameters():
        assert (name in stored) == parameter.requires_grad, name
    for name, tensor in stored.items():
        statistic = name.endswith(("running_mean", "running_var"))
        counter = name.endswith("num_batches_tracked")
        expected = torch.float32 if statistic else torch.int64 if counter else torch.float16
        assert tensor.dtype == expected, name
        if statistic:
            assert torch.equal(tensor, network.state_dict()[name])


def test_an_encoder_that_was_trained_is_stored_whole(tmp_path):
    network = WmhNetwork(small_recipe())
    save_checkpoint(tmp_path, network, facts_of(small_recipe()))
    assert (
        load_file(weights_path(tmp_path, load_facts(tmp_path))).keys()
        == network.state_dict().keys()
    )


def test_another_base_is_refused(adapted, tmp_path):
    _, facts = adapted
    write_random_base(tmp_path / "other.pth", facts.recipe.network.encoder, seed=1)
    with pytest.raises(RecipeError, match=r"other\.pth: has SHA-256 .* was trained on base\.pth"):
        load_network(tmp_path, facts, tmp_path / "other.pth")


def test_a_missing_base_and_one_too_many_are_told(adapted, base, tmp_path):
    _, facts = adapted
    with pytest.raises(RecipeError, match=r"was trained on base\.pth, which it does not hold"):
        load_network(tmp_path, facts)
    whole = tmp_path / "whole"
    recipe = small_recipe()
    facts = save_checkpoint(whole, WmhNetwork(recipe), facts_of(recipe))
    with pytest.raises(RecipeError, match="Leave --base out"):
        load_network(whole, facts, base.path)


def test_a_base_is_asked_for_only_where_the_checkpoint_lacks_its_encoder(base):
    # Cross-validation and the end of a training load what was begun from a base either way.
    assert base_file(facts_of(lora_recipe(), base.identity), base) == base.path
    assert base_file(facts_of(small_recipe()), base) is None
    assert base_file(facts_of(small_recipe()), None) is None


def test_weights_that_are_not_those_of_the_facts_are_refused(tmp_path):
    recipe = small_recipe()
    facts = save_checkpoint(tmp_path, WmhNetwork(recipe), facts_of(recipe))
    other = save_checkpoint(tmp_path / "other", perturb(WmhNetwork(recipe)), facts_of(recipe))
    weights_path(tmp_path / "other", other).replace(weights_path(tmp_path, facts))
    with pytest.raises(RecipeError, match=r"has SHA-256 .* checkpoint\.json says"):
        load_network(tmp_path, facts)


def test_a_checkpoint_stays_whole_until_the_facts_of_the_next_are_written(tmp_path, monkeypatch):
    recipe = small_recipe()
    before = save_checkpoint(tmp_path, WmhNetwork(recipe), facts_of(recipe))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("wmh_train.checkpoint.save_facts", killed)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, perturb(WmhNetwork(recipe)), facts_of(recipe))
    load_network(tmp_path, load_facts(tmp_path))
    after = save_checkpoint(tmp_path, perturb(WmhNetwork(recipe)), facts_of(recipe))
    assert after.weights_sha256 != before.weights_sha256
    assert list(tmp_path.glob("*.safetensors")) == [weights_path(tmp_path, after)]


def test_weights_of_another_recipe_are_refused(tmp_path):
    facts = save_checkpoint(tmp_path, WmhNetwork(small_recipe()), facts_of(small_recipe()))
    decoder = facts.recipe.network.decoder.model_copy(update={"detail_width": 0})
    network = facts.recipe.network.model_copy(update={"decoder": decoder})
    recipe = facts.recipe.model_copy(update={"network": network})
    with pytest.raises(RecipeError, match="tensors that do not fit the recipe"):
        load_network(tmp_path, facts.model_copy(update={"recipe": recipe}))


def test_damaged_weights_are_told(tmp_path):
    recipe = small_recipe()
    facts = save_checkpoint(tmp_path, WmhNetwork(recipe), facts_of(recipe))
    path = weights_path(tmp_path, facts)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RecipeError, match=r"\.safetensors: cannot be read"):
        load_network(tmp_path, facts)


def test_weights_beyond_half_precision_are_not_stored(tmp_path):
    network = WmhNetwork(small_recipe())
    with torch.no_grad():
        network.decoder.heads[0].bias.fill_(1e5)  # the largest float16 is 65504
    with pytest.raises(RecipeError, match=r"decoder\.heads\.0\.bias does not fit into half"):
        save_checkpoint(tmp_path, network, facts_of(small_recipe()))
    assert not list(tmp_path.iterdir())


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="is not a checkpoint folder"):
        load_facts(tmp_path)
    (tmp_path / "checkpoint.json").write_text("{}")
    with pytest.raises(RecipeError, match="not a checkpoint of this version"):
        load_facts(tmp_path)
