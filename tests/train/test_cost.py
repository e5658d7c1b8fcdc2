import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.toys import SMALL_RECIPE, small_recipe
from wmh_runtime.errors import RecipeError
from wmh_train.checkpoint import stored_tensors
from wmh_train.cost import footprint_of, require_memory
from wmh_train.model.network import WmhNetwork, parameter_counts
from wmh_train.recipe.recipe import Recipe, load_recipe


def with_checkpointing(recipe: Recipe) -> Recipe:
    encoder = recipe.network.encoder.model_copy(update={"gradient_checkpointing": True})
    network = recipe.network.model_copy(update={"encoder": encoder})
    return recipe.model_copy(update={"network": network})


def test_the_method_trains_7_05_of_94_3_million_parameters():
    # LoRA, rank r, of a layer a → b: r (a + b). Twelve blocks of qkv 768→2304 and proj 768→768 at
    # 64, lin1 768→3072 and lin2 3072→768 at 32: 12 (64 · 3072 + 64 · 1536 + 2 · 32 · 3840).
    counts = footprint_of(load_recipe("wmh-lora")).parameters
    assert counts.lora == 12 * (64 * 3072 + 64 * 1536 + 2 * 32 * 3840) == 6_488_064
    assert (counts.adapter, counts.decoder, counts.encoder) == (243, 566_133, 0)
    assert counts.trained == 7_054_440
    assert counts.total == 94_333_288
    assert counts.trained_share == pytest.approx(0.0748, abs=5e-5)


def test_the_budget_recipe_keeps_its_budget():
    # Three blocks, all four layers at rank 64: 3 · 64 (3072 + 1536 + 3840 + 3840).
    cost = footprint_of(load_recipe("wmh-lora-budget"))
    assert cost.parameters.lora == 3 * 64 * (3072 + 1536 + 3840 + 3840)
    assert cost.parameters.trained_share <= 0.035
    assert cost.checkpoint_bytes < 25e6


@pytest.mark.parametrize("lora", [None, {"ranks": {"qkv": 4, "lin1": 2}}])
def test_counts_and_size_are_those_of_the_network_that_is_built(lora, tmp_path):
    network = copy.deepcopy(SMALL_RECIPE["network"])
    network["encoder"]["trained"] = lora is None
    recipe = small_recipe(network=network | {"lora": lora})
    built = WmhNetwork(recipe)
    cost = footprint_of(recipe)
    assert cost.parameters == parameter_counts(built)
    save_file(stored_tensors(built), tmp_path / "stored.safetensors")
    stored = load_file(tmp_path / "stored.safetensors").values()
    assert cost.checkpoint_bytes == sum(t.numel() * t.itemsize for t in stored)


def test_operations_of_a_convolution_by_hand():
    # One view of the small recipe has many; that of its adapter alone: 2 · S² (9 · 16 + 16 · 3).
    small, wide = small_recipe(), small_recipe(channels=["flair", "t1"])
    more = footprint_of(wide).flops_a_view - footprint_of(small).flops_a_view
    # A second channel: 3×3 kernels to the adapter's 16 and to the detail branch's 4, at S = 64.
    assert more == 2 * 64 * 64 * 9 * (16 + 4)


def test_gradient_checkpointing_takes_less_memory():
    recipe = load_recipe("wmh-lora")
    plain, saving = footprint_of(recipe), footprint_of(with_checkpointing(recipe))
    assert saving.training_bytes < 0.6 * plain.training_bytes
    assert saving.parameters == plain.parameters


def test_activations_are_those_a_backward_pass_keeps():
    # Memory grows by the activations of a slice, and weights are counted once.
    def bytes_of(slices):
        schedule = small_recipe().schedule.model_copy(
            update={"slices_at_once": slices, "batch_size": slices}
        )
        return footprint_of(small_recipe(schedule=schedule)).training_bytes

    one, two, four = bytes_of(1), bytes_of(2), bytes_of(4)
    assert four - two == pytest.approx(2 * (two - one), rel=0.01)
    # Weights, gradients and two moments, float32, and the process itself.
    fixed = 4 * 4 * parameter_counts(WmhNetwork(small_recipe())).total + 750_000_000
    assert one - (two - one) == pytest.approx(fixed, rel=0.001)


def test_a_training_that_does_not_fit_is_refused_with_advice(monkeypatch):
    monkeypatch.setattr("wmh_train.cost._free_bytes", lambda device: 1_000_000)
    with pytest.raises(RecipeError, match=r"needs about .* GB on cpu, 0\.0 GB are free.*slices_at"):
        require_memory(small_recipe(), torch.device("cpu"), processes_here=1)


def test_processes_share_the_memory_of_a_machine(monkeypatch):
    needed = footprint_of(small_recipe()).training_bytes
    monkeypatch.setattr("wmh_train.cost._free_bytes", lambda device: int(1.5 * needed))
    require_memory(small_recipe(), torch.device("cpu"), processes_here=1)
    with pytest.raises(RecipeError):
        require_memory(small_recipe(), torch.device("cpu"), processes_here=2)


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for recipe in (small_recipe(), with_checkpointing(small_recipe())):
        torch.manual_seed(0)
        network = WmhNetwork(recipe).train()
        image = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
        network(image).fused.square().mean().backward()
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])
    assert gradients[0]
    for plain, saving in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, saving)
