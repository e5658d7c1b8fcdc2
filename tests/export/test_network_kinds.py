"""Every kind of convolutional network is merged, halved and exported as it was trained."""

import pytest
import torch
from torch import nn

from tests.networks import (
    SMALL_CONVOLUTIONAL,
    perturbed_network,
    random_slices,
    small_convolutional_recipe,
)
from wmh_export.network.half_precision import to_half_precision
from wmh_export.network.merge import merge


@pytest.fixture(params=SMALL_CONVOLUTIONAL, scope="module")
def recipe(request):
    return small_convolutional_recipe(request.param)


def test_batch_norm_is_merged_without_changing_the_output(recipe):
    network = perturbed_network(recipe).double()
    merged = merge(network).double()  # merged in float32
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in merged.modules())
    image = torch.from_numpy(random_slices(recipe)).double()
    before, after = network(image).fused, merged(image).fused
    assert (after - before).abs().max() < 1e-3 * before.abs().max()


def test_first_and_last_layer_of_the_half_precision_copy_stay_in_float32(recipe):
    merged = merge(perturbed_network(recipe))
    half = to_half_precision(merged)
    dtypes = {name: p.dtype for name, p in half.named_parameters()}
    in_float32 = {name.split(".exact")[0] for name, d in dtypes.items() if d == torch.float32}
    assert in_float32 == {merged.first_layer, merged.last_layer}
