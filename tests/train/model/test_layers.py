"""Layers: which they are, that each parameter is in one, and that frozen ones do not change."""

import pytest
import torch
from torch import nn

from tests.networks import SMALL_CONVOLUTIONAL, small_convolutional_recipe
from tests.training_toys import lora_recipe, small_recipe
from wmh_runtime.errors import RecipeError
from wmh_train.loop.batch_norm import fix_frozen_batch_norm
from wmh_train.model.layers import freeze_layers, network_layers
from wmh_train.model.network import build_network

RECIPES = {
    "small-vit": small_recipe(),
    "sam-lora": lora_recipe(),
    **{kind: small_convolutional_recipe(kind) for kind in SMALL_CONVOLUTIONAL},
}


@pytest.mark.parametrize("kind", RECIPES)
def test_each_parameter_is_in_one_layer(kind):
    assert RECIPES[kind].network.kind == kind
    network = build_network(RECIPES[kind])
    in_layers = [p for layer in network_layers(network) for p in layer.parameters]
    assert {id(p) for p in in_layers} == {id(p) for p in network.parameters()}
    assert len(in_layers) == len(list(network.parameters()))


def test_the_layers_of_vgg16_are_its_thirteen_convolutions():
    layers = network_layers(build_network(RECIPES["vgg16-unet"]))
    encoder = [layer for layer in layers if layer.name.startswith("encoder")]
    assert len(encoder) == 13
    assert [layer.name for layer in encoder] == [layer.name for layer in layers[:13]]
    # The second one: 64 × 64 × 3 × 3 weights, 64 biases, and scale and shift of BatchNorm.
    assert encoder[1].size == 64 * 64 * 9 + 3 * 64


def test_the_layers_of_a_vision_transformer_are_its_blocks():
    layers = network_layers(build_network(RECIPES["sam-lora"]))
    names = [layer.name.removeprefix("encoder.base_model.model.") for layer in layers]
    assert names[:7] == [
        *("adapter.0", "adapter.3", "patch_embed", "blocks.0", "blocks.1", "neck.0", "neck.2")
    ]
    lora = [name for name, _ in build_network(RECIPES["sam-lora"]).named_parameters()]
    assert any(".lora_A" in name for name in lora)
    adapted = [p.shape for p in layers[3].parameters]
    assert torch.Size([4, 16]) in adapted  # LoRA of rank 4 on 16 features belongs to the block


@pytest.mark.parametrize("kind", RECIPES)
def test_layers_are_in_the_order_of_computation(kind):
    network = build_network(RECIPES[kind]).eval()
    order = []
    modules = dict(network.named_modules())
    layers = [layer.name for layer in network_layers(network)]
    for name in layers:
        modules[name].register_forward_hook(lambda *_, name=name: order.append(name))
    network(torch.zeros(1, *RECIPES[kind].network_shape.input_shape))
    if kind in SMALL_CONVOLUTIONAL:
        assert order == layers
    else:  # the heads of the decoder compute with their stages
        assert sorted(order) == sorted(layers)
        assert order[:7] == layers[:7]


@pytest.mark.parametrize("kind", RECIPES)
def test_frozen_layers_do_not_change_in_training(kind):
    torch.manual_seed(0)
    recipe = RECIPES[kind]
    network = build_network(recipe).train()
    freeze_layers(network, 4)
    fix_frozen_batch_norm(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    names = {p: name for name, p in network.named_parameters()}
    layers = network_layers(network)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.randn(2, *recipe.network_shape.input_shape)).fused.sum().backward()
    optimizer.step()
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = {names[p] for layer in layers[:4] for p in layer.parameters}
    assert not changed & frozen
    assert any(names[p] in changed for layer in layers[4:] for p in layer.parameters)
    for layer in layers[:4]:  # statistics of BatchNorm neither
        module = network.get_submodule(layer.name)
        assert module.weight.requires_grad is False if isinstance(module, nn.Conv2d) else True
    statistics = [name for name in before if name.endswith("running_mean")]
    of_frozen = [n for n in statistics if n.rsplit(".", 1)[0] + ".weight" in frozen]
    assert not set(of_frozen) & changed
    assert set(statistics) - set(of_frozen) <= changed


def test_too_many_frozen_layers_are_an_error():
    network = build_network(RECIPES["unet"])
    count = len(network_layers(network))
    with pytest.raises(RecipeError, match=rf"{count} frozen layers leave nothing to train"):
        freeze_layers(network, count)
