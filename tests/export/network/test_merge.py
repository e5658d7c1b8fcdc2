"""Fewer parts, the same network."""

import copy

import pytest
import torch
from torch import nn

from tests.networks import perturbed
from tests.toys import small_recipe
from wmh_export.network.merge import merge
from wmh_runtime.errors import ExportError


def adapted_network():
    network = copy.deepcopy(small_recipe().network.model_dump())
    network["encoder"]["trained"] = False
    network["lora"] = {"ranks": {"qkv": 4, "proj": 4, "lin1": 2, "lin2": 2}}
    return perturbed(small_recipe(network=network))


def without_adapters(network):
    bare = copy.deepcopy(network)
    for module in bare.encoder.modules():
        if hasattr(module, "scaling"):
            module.scaling["default"] = 0.0
    return bare


def test_merging_changes_nothing_but_the_parts():
    adapted = adapted_network()
    before = copy.deepcopy(adapted.state_dict())
    merged = merge(adapted)
    assert not [name for name, _ in merged.named_parameters() if "lora" in name]
    assert not [m for m in merged.modules() if isinstance(m, nn.BatchNorm2d)]
    image = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        expected = adapted(image).fused
        torch.testing.assert_close(merged(image).fused, expected, atol=1e-5, rtol=0)
        difference = (without_adapters(adapted)(image).fused - expected).abs().max()
    assert difference > 1e-3  # a merge that was forgotten would show
    after = adapted.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_weight_that_is_not_finite_is_not_exported():
    network = perturbed(small_recipe())
    with torch.no_grad():
        network.decoder.heads[0].weight[0] = float("nan")
    with pytest.raises(ExportError, match=r"decoder\.heads\.0\.weight is not finite"):
        merge(network)
