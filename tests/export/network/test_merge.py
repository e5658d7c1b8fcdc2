"""Merging LoRA and BatchNorm does not change the output."""

import copy

import pytest
import torch
from torch import nn

from tests.networks import perturbed_network
from tests.training_toys import small_recipe
from wmh_export.network.merge import merge
from wmh_runtime.errors import ExportError


def network_with_lora():
    network = copy.deepcopy(small_recipe().network.model_dump())
    network["encoder"]["trained"] = False
    network["lora"] = {"ranks": {"qkv": 4, "proj": 4, "lin1": 2, "lin2": 2}}
    return perturbed_network(small_recipe(network=network))


def without_lora(network):
    plain = copy.deepcopy(network)
    for module in plain.encoder.modules():
        if hasattr(module, "scaling"):
            module.scaling["default"] = 0.0
    return plain


def test_merging_removes_lora_and_batch_norm_and_keeps_the_output():
    original = network_with_lora()
    before = copy.deepcopy(original.state_dict())
    merged = merge(original)
    assert not [name for name, _ in merged.named_parameters() if "lora" in name]
    assert not [m for m in merged.modules() if isinstance(m, nn.BatchNorm2d)]
    image = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        expected = original(image).fused
        torch.testing.assert_close(merged(image).fused, expected, atol=1e-5, rtol=0)
        difference = (without_lora(original)(image).fused - expected).abs().max()
    assert difference > 1e-3  # so the test would find a missing merge
    after = original.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_weight_that_is_not_finite_is_rejected():
    network = perturbed_network(small_recipe())
    with torch.no_grad():
        network.decoder.heads[0].weight[0] = float("nan")
    with pytest.raises(ExportError, match=r"decoder\.heads\.0\.weight is not finite"):
        merge(network)
