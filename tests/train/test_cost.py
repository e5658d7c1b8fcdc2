import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import REPOSITORY
from tests.training_toys import SMALL_RECIPE, small_recipe
from wmh_runtime.errors import RecipeError
from wmh_train.checkpoint import stored_tensors
from wmh_train.cost import estimate_footprint, require_memory
from wmh_train.model.network import build_network, parameter_counts
from wmh_train.recipe.recipe import Recipe, load_recipe


def with_checkpointing(recipe: Recipe) -> Recipe:
    encoder = recipe.network.encoder.model_copy(update={"gradient_checkpointing": True})
    network = recipe.network.model_copy(update={"encoder": encoder})
    return recipe.model_copy(update={"network": network})


def test_the_method_trains_7_05_of_94_3_million_parameters():
    # LoRA, rank r, of a layer a → b: r (a + b). Twelve blocks of qkv 768→2304 and proj 768→768 at
    # 64, lin1 768→3072 and lin2 3072→768 at 32: 12 (64 · 3072 + 64 · 1536 + 2 · 32 · 3840).
    counts = estimate_footprint(load_recipe("wmh-lora")).parameters
    assert counts.lora == 12 * (64 * 3072 + 64 * 1536 + 2 * 32 * 3840) == 6_488_064
    assert (counts.adapter, counts.decoder, counts.encoder) == (243, 566_133, 0)
    assert counts.trained == 7_054_440
    assert counts.total == 94_333_288
    assert counts.trained_share == pytest.approx(0.0748, abs=5e-5)


def test_the_budget_recipe_stays_within_its_budget():
    # Three blocks, all four layers at rank 64: 3 · 64 (3072 + 1536 + 3840 + 3840).
    cost = estimate_footprint(load_recipe("wmh-lora-budget"))
    assert cost.parameters.lora == 3 * 64 * (3072 + 1536 + 3840 + 3840)
    assert cost.parameters.trained_share <= 0.035
    assert cost.checkpoint_bytes < 25e6


@pytest.mark.parametrize("lora", [None, {"ranks": {"qkv": 4, "lin1": 2}}])
def test_counts_and_size_equal_those_of_the_built_network(lora, tmp_path):
    network = copy.deepcopy(SMALL_RECIPE["network"])
    network["encoder"]["trained"] = lora is None
    recipe = small_recipe(network=network | {"lora": lora})
    built = build_network(recipe)
    cost = estimate_footprint(recipe)
    assert cost.parameters == parameter_counts(built)
    save_file(stored_tensors(built), tmp_path / "stored.safetensors")
    stored = load_file(tmp_path / "stored.safetensors").values()
    assert cost.checkpoint_bytes == sum(t.numel() * t.itemsize for t in stored)


def test_operations_of_a_convolution():
    small, wide = small_recipe(), small_recipe(channels=["flair", "t1"])
    added = estimate_footprint(wide).flops_per_view - estimate_footprint(small).flops_per_view
    # A second channel adds 3×3 kernels to 16 channels of the adapter and to 4 of the detail branch,
    # at S = 64.
    assert added == 2 * 64 * 64 * 9 * (16 + 4)


@pytest.mark.parametrize("name", ["wmh-lora", "wmh-lora-budget"])
def test_operations_are_those_of_the_exported_graph(name):
    """LoRA is merged there, so both recipes give the same graph."""
    counts = json.loads((REPOSITORY / "benchmarks" / "counts.json").read_text(encoding="utf-8"))
    flops = estimate_footprint(load_recipe(name)).flops_per_view
    assert flops / 1e9 == pytest.approx(counts["gflop_per_view"], abs=1e-3)


def test_gradient_checkpointing_needs_less_memory():
    recipe = load_recipe("wmh-lora")
    plain, saving = estimate_footprint(recipe), estimate_footprint(with_checkpointing(recipe))
    assert saving.training_bytes < 0.6 * plain.training_bytes
    assert saving.parameters == plain.parameters


def test_memory_grows_by_the_activations_of_each_slice():
    def bytes_of(slices):
        schedule = small_recipe().schedule.model_copy(
            update={"micro_batch_size": slices, "batch_size": slices}
        )
        return estimate_footprint(small_recipe(schedule=schedule)).training_bytes

    one, two, four = bytes_of(1), bytes_of(2), bytes_of(4)
    assert four - two == pytest.approx(2 * (two - one), rel=0.01)
    # Weights, gradients and two moments in float32, and the memory of the process itself.
    fixed = 4 * 4 * parameter_counts(build_network(small_recipe())).total + 750_000_000
    assert one - (two - one) == pytest.approx(fixed, rel=0.001)


def test_a_training_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr("wmh_train.cost.free_bytes", lambda: 1_000_000)
    with pytest.raises(
        RecipeError, match=r"needs about .* GB on cpu, 0\.0 GB are free.*micro_batch_size"
    ):
        require_memory(small_recipe(), torch.device("cpu"), processes_per_device=1)


def test_processes_share_the_memory_of_a_machine(monkeypatch):
    needed = estimate_footprint(small_recipe()).training_bytes
    monkeypatch.setattr("wmh_train.cost.free_bytes", lambda: int(1.5 * needed))
    require_memory(small_recipe(), torch.device("cpu"), processes_per_device=1)
    with pytest.raises(RecipeError):
        require_memory(small_recipe(), torch.device("cpu"), processes_per_device=2)


def test_gradient_checkpointing_does_not_change_gradients():
    gradients = []
    for recipe in (small_recipe(), with_checkpointing(small_recipe())):
        torch.manual_seed(0)
        network = build_network(recipe).train()
        image = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
        network(image).fused.square().mean().backward()
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])
    assert gradients[0]
    for plain, saving in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, saving)
