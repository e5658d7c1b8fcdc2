import math

import pytest
import torch

from tests.toys import SMALL_RECIPE, small_recipe, write_annotated_heads
from wmh_runtime.errors import RecipeError
from wmh_train.checkpoint import load_facts, load_network, save_checkpoint
from wmh_train.loop import FitProgress, fit, learning_rate_share
from wmh_train.network import WmhNetwork
from wmh_train.recipe import ScheduleSettings


def test_the_learning_rate_by_hand():
    schedule = ScheduleSettings(epochs=6, warmup_epochs=1, restart_epochs=2, batch_size=1, seed=0)
    shares = [learning_rate_share(step, 4, schedule) for step in range(21)]
    # Warm-up over 4 steps, then cosines of 8 steps from 1 towards 0.001; halfway: 0.5005.
    assert shares[:4] == [0.25, 0.5, 0.75, 1.0]
    assert shares[4] == shares[12] == shares[20] == 1.0
    assert shares[8] == pytest.approx(0.5005)
    assert shares[11] == pytest.approx(0.001 + 0.999 * (1 + math.cos(math.pi * 7 / 8)) / 2)


class Listener(FitProgress):
    def __init__(self):
        self.prepared, self.steps, self.reports = [], [], []

    def preparing(self, done, total):
        self.prepared.append((done, total))

    def training(self, step, steps, loss):
        self.steps.append((step, steps))

    def epoch(self, report):
        self.reports.append(report)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return write_annotated_heads(tmp_path_factory.mktemp("heads"), 8)


def test_training_learns_and_tells_how_it_goes(heads, tmp_path):
    listener = Listener()
    schedule = small_recipe().schedule.model_copy(update={"epochs": 20, "restart_epochs": 19})
    facts = fit(small_recipe(schedule=schedule), heads, tmp_path / "run", listener)
    assert listener.prepared[-1] == (8, 8)
    # 6 training heads of 6 slices: 12 with lesion, half of the 24 without; in fours, 6 steps
    assert listener.steps[-1] == (20 * 6, 20 * 6)
    assert 24 < facts.provenance.training_slices <= 36  # each epoch draws others of the 24
    assert listener.reports[-1].validation_dice > 0.5 > listener.reports[0].validation_dice
    assert len(facts.validation_scans) == 2  # 30 % of 8
    assert not set(facts.validation_scans) & set(facts.training_scans)


def test_the_same_recipe_gives_the_same_weights(heads, tmp_path):
    for run in ("a", "b"):
        fit(small_recipe(), heads, tmp_path / run, FitProgress())
    weights = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("a", "b")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("lora", [None, {"ranks": {"qkv": 4, "lin1": 2}}])
def test_a_reloaded_checkpoint_is_the_network_that_was_saved(heads, tmp_path, lora):
    encoder = SMALL_RECIPE["network"]["encoder"] | {"trained": lora is None}
    recipe = small_recipe(network=SMALL_RECIPE["network"] | {"encoder": encoder, "lora": lora})
    facts = fit(recipe, heads, tmp_path / "run", FitProgress())
    network = load_network(tmp_path / "run", facts)
    with torch.no_grad():
        for tensor in network.state_dict().values():  # buffers and frozen weights included
            tensor.add_(torch.randn(tensor.shape).abs().to(tensor.dtype))
    save_checkpoint(tmp_path / "other", network, facts)
    reloaded = load_network(tmp_path / "other", load_facts(tmp_path / "other"))
    image = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(reloaded(image).fused, network(image).fused)
    assert load_facts(tmp_path / "other") == facts


def test_training_does_not_replace_a_checkpoint(heads, tmp_path):
    fit(small_recipe(), heads, tmp_path / "run", FitProgress())
    with pytest.raises(RecipeError, match="holds a checkpoint already"):
        fit(small_recipe(), heads, tmp_path / "run", FitProgress())


def test_no_batch_is_larger_than_the_recipe_says(heads, tmp_path):
    sizes = []
    forward = WmhNetwork.forward

    def measured(self, image):
        if self.training:
            sizes.append(len(image))
        return forward(self, image)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WmhNetwork, "forward", measured)
        fit(small_recipe(), heads, tmp_path / "run", FitProgress())
    assert max(sizes) <= small_recipe().schedule.batch_size


def test_a_loss_that_is_not_finite_ends_with_advice(heads, tmp_path):
    optimiser = small_recipe().optimiser.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(RecipeError, match=r"Lower optimiser\.learning_rate"):
        fit(small_recipe(optimiser=optimiser), heads, tmp_path / "run", FitProgress())
    assert not list((tmp_path / "run").iterdir())


def test_weights_of_another_recipe_are_refused(heads, tmp_path):
    facts = fit(small_recipe(), heads, tmp_path / "run", FitProgress())
    other = facts.recipe.network.decoder.model_copy(update={"detail_width": 0})
    network = facts.recipe.network.model_copy(update={"decoder": other})
    recipe = facts.recipe.model_copy(update={"network": network})
    with pytest.raises(RecipeError, match="tensors that do not fit the recipe"):
        load_network(tmp_path / "run", facts.model_copy(update={"recipe": recipe}))


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="is not a checkpoint folder"):
        load_facts(tmp_path)
    (tmp_path / "checkpoint.json").write_text("{}")
    with pytest.raises(RecipeError, match="not a checkpoint of this version"):
        load_facts(tmp_path)
