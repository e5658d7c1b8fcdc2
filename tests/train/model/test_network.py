import copy

import peft
import pytest
import torch
from torch import nn

from tests.training_toys import SMALL_RECIPE, small_recipe
from wmh_runtime.errors import RecipeError
from wmh_train.model.adapters import ChannelAdapter, add_lora
from wmh_train.model.decoder import DetailBranch, MultiScaleDecoder
from wmh_train.model.network import build_network, parameter_counts
from wmh_train.model.sam import build_image_encoder
from wmh_train.recipe.network import DecoderSettings, LoraSettings
from wmh_train.recipe.recipe import load_recipe


def with_lora(**lora):
    network = copy.deepcopy(SMALL_RECIPE["network"])
    network["encoder"]["trained"] = False
    network["lora"] = lora
    return small_recipe(network=network)


def test_the_tiny_recipe_is_small_and_fully_trained():
    recipe = load_recipe("tiny")
    counts = parameter_counts(build_network(recipe))
    assert counts.trained == counts.total <= 2_000_000
    assert counts.trained_share == 1
    assert recipe.preprocessing.size_px <= 256


def test_the_methods_channel_adapter_has_243_parameters_and_starts_as_an_average():
    # conv 3×3 1→16: 144 + 16; BatchNorm 32; conv 1×1 16→3: 48 + 3.
    adapter = ChannelAdapter(channels=1)
    assert sum(p.numel() for p in adapter.parameters()) == 160 + 32 + 51 == 243
    three = adapter.eval()(torch.randn(1, 1, 8, 8))
    torch.testing.assert_close(three[:, 0], three[:, 2])


def test_the_methods_decoder_has_566133_parameters():
    # The published size, for ViT-B's 256 channels and patch 16.
    decoder = MultiScaleDecoder(
        256, DecoderSettings(widths=[128, 64, 32, 16]), channels=1, outputs=1
    )
    assert sum(p.numel() for p in decoder.parameters()) == 566_133


def test_the_image_affects_every_scale_of_the_decoder():
    branch = DetailBranch(channels=1, widths=[4, 8, 16])
    shapes = [tuple(features.shape) for features in branch(torch.randn(2, 1, 64, 64))]
    assert shapes == [(2, 4, 64, 64), (2, 8, 32, 32), (2, 16, 16, 16)]
    settings = DecoderSettings(widths=[16, 8, 4], detail_width=4)
    decoder = MultiScaleDecoder(8, settings, channels=1, outputs=1).eval()
    coarse = torch.zeros(1, 8, 8, 8)
    dark = decoder(coarse, torch.zeros(1, 1, 64, 64))
    bright = decoder(coarse, torch.ones(1, 1, 64, 64))
    for first, second in zip(dark.scales, bright.scales, strict=True):
        assert not torch.equal(first, second)


@pytest.mark.parametrize("channels", [["flair"], ["flair", "t1"]])
@pytest.mark.parametrize("outputs", [["wmh"], ["wmh", "stroke"]])
def test_the_network_supports_several_channels_and_outputs(channels, outputs):
    network = build_network(small_recipe(channels=channels, outputs=outputs)).eval()
    logits = network(torch.randn(2, len(channels), 64, 64))
    assert logits.fused.shape == (2, len(outputs), 64, 64)
    assert [scale.shape[-1] for scale in logits.scales] == [32, 64]


def test_a_frozen_encoder_without_lora_is_not_trained():
    network = copy.deepcopy(SMALL_RECIPE["network"])
    network["encoder"]["trained"] = False
    frozen = build_network(small_recipe(network=network))
    assert not any(p.requires_grad for p in frozen.encoder.parameters())
    assert all(p.requires_grad for p in frozen.decoder.parameters())


def test_lora_adds_rank_times_inputs_plus_outputs_to_each_layer_and_nothing_else():
    # Width 16: qkv 16→48 at rank 4: 4 · 64; lin1 16→64 at rank 2: 2 · 80. Two blocks.
    network = build_network(with_lora(ranks={"qkv": 4, "lin1": 2}))
    assert parameter_counts(network).lora == 2 * (4 * 64 + 2 * 80)
    adapted = [n for n, m in network.named_modules() if isinstance(m, peft.tuners.lora.LoraLayer)]
    assert len(adapted) == 4
    assert not [name for name in adapted if "patch_embed" in name]


def test_lora_adapts_the_given_blocks_with_alpha_equal_to_rank():
    network = build_network(with_lora(ranks={"proj": 4}, blocks=[1]))
    (layer,) = (m for m in network.modules() if isinstance(m, peft.tuners.lora.LoraLayer))
    assert layer.scaling["default"] == 1.0


def test_lora_that_misses_a_block_is_refused():
    encoder = build_image_encoder(load_recipe("tiny").network.encoder, 256)
    with pytest.raises(RecipeError, match=r"LoRA adapted 1 layers, expected 2 blocks"):
        add_lora(encoder, LoraSettings(ranks={"qkv": 4}, blocks=[3, 4]), depth=5)


def test_patches_that_do_not_tile_the_slice_are_refused():
    with pytest.raises(RecipeError, match="not a multiple of patch_px"):
        build_image_encoder(load_recipe("tiny").network.encoder, 250)


def test_segment_anything_is_imported_without_torchvision():
    import sys

    build_network(small_recipe())
    assert "torchvision" not in sys.modules
    assert "segment_anything" not in sys.modules


def test_gradients_reach_every_trained_parameter():
    network = build_network(with_lora(ranks={"qkv": 4, "proj": 4, "lin1": 2, "lin2": 2}))
    nn.init.normal_(network.encoder.base_model.model.pos_embed)
    logits = network(torch.randn(2, 1, 64, 64))
    (logits.fused.mean() + sum(scale.mean() for scale in logits.scales)).backward()
    without_gradient = [
        n for n, p in network.named_parameters() if p.requires_grad and p.grad is None
    ]
    assert without_gradient == []
