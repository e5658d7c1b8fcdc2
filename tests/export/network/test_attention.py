"""The rewritten attention gives the same result as segment-anything's encoder."""

import pytest
import torch
from torch import nn

from tests.networks import perturbed_network
from tests.training_toys import small_recipe
from wmh_export.network.attention import Attention
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_train.model.network import WmhNetwork

HEADS, WIDTH = 3, 12


def recipe_of(size_px: int, window_tokens: int, patch_px: int = 16):
    """One windowed and one global block, with patches of 16 pixels as in SAM."""
    network = small_recipe().network.model_dump()
    network["encoder"] |= {
        "patch_px": patch_px,
        "window_tokens": window_tokens,
        "width": WIDTH,
        "heads": HEADS,
    }
    network["decoder"] = {"widths": [8, 4, 4, 4], "detail_width": 0}
    preprocessing = {"pixel_size_mm": 0.5, "size_px": size_px}
    loss = {"scale_weights": [0.4, 0.3, 0.2, 0.1]}
    return small_recipe(network=network, preprocessing=preprocessing, loss=loss)


def network_with_large_logits(recipe) -> WmhNetwork:
    """A network whose attention logits and relative positions are as large as in trained ones."""
    network = merge(perturbed_network(recipe))
    with torch.no_grad():
        for name, parameter in network.encoder.named_parameters():
            if "attn" in name:
                parameter.normal_(std=0.5)
    return network


@pytest.mark.parametrize(
    ("size_px", "window_tokens"),
    [
        (256, 14),  # 16 tokens per side, padded to 28
        (448, 14),  # 28, no padding
        (512, 14),  # 32, padded to 42
        (1024, 14),  # 64, padded to 70, as in SAM
        (240, 14),  # 15, odd, padded to 28
        (272, 7),  # 17, odd, padded to 21
        (112, 7),  # 7, one window
        (80, 14),  # 5, smaller than a window
    ],
)
def test_the_encoder_agrees_with_segment_anything(size_px, window_tokens):
    network = network_with_large_logits(recipe_of(size_px, window_tokens))
    image = torch.randn(2 if size_px < 1024 else 1, 3, size_px, size_px)
    with torch.inference_mode():
        expected = network.encoder(image)  # about 1, because the neck normalizes
        features = rewrite(network).encoder(image)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.1


@pytest.mark.parametrize("zeroed", ["row_table", "column_table", "query.bias", "out.bias"])
def test_every_parameter_changes_the_output(zeroed):
    network = network_with_large_logits(recipe_of(256, 14))
    rewritten = rewrite(network)
    image = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        for block in rewritten.encoder.blocks:
            block.attn.state_dict()[zeroed].zero_()
        difference = (rewritten.encoder(image) - network.encoder(image)).abs().max()
    assert difference > 1e-2


def test_the_original_network_is_not_changed():
    network = network_with_large_logits(recipe_of(256, 14))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    rewritten = rewrite(network)
    with torch.no_grad():
        for parameter in rewritten.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())


def test_relative_positions_calculated_by_hand():
    # One head of width 1, a slice of 2 × 2 tokens, and all queries 1. The logit of a key is
    # rel_pos_h[query row − key row + 1] + rel_pos_w[query column − key column + 1].
    class Original:
        num_heads = 1
        scale = 1.0
        qkv = nn.Linear(1, 3)
        proj = nn.Linear(1, 1)
        rel_pos_h = torch.tensor([[10.0], [20.0], [30.0]])  # key below, same row, key above
        rel_pos_w = torch.tensor([[1.0], [2.0], [3.0]])

    attention = Attention(Original(), window_tokens=0, grid_tokens=2)
    positions = attention._position_bias(torch.ones(1, 1, 4, 1))[0, 0]
    assert positions.tolist() == [
        [22, 21, 12, 11],  # query at row 0, column 0
        [23, 22, 13, 12],
        [32, 31, 22, 21],
        [33, 32, 23, 22],
    ]
