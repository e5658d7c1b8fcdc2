"""Attention by other operators, the same to the last digits: against segment-anything's encoder."""

import pytest
import torch
from torch import nn

from tests.networks import perturbed
from tests.toys import small_recipe
from wmh_export.network.attention import Attention
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_train.model.network import WmhNetwork

HEADS, WIDTH = 3, 12


def recipe_of(size_px: int, window_tokens: int, patch_px: int = 16):
    """One windowed and one global block over the tokens that the method's patches give."""
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


def strengthened(recipe) -> WmhNetwork:
    """A network whose logits of attention and relative positions are as large as real ones."""
    network = merge(perturbed(recipe))
    with torch.no_grad():
        for name, parameter in network.encoder.named_parameters():
            if "attn" in name:
                parameter.normal_(std=0.5)
    return network


@pytest.mark.parametrize(
    ("size_px", "window_tokens"),
    [
        (256, 14),  # 16 tokens a side: windows of 14 padded from 16 to 28
        (448, 14),  # 28: windows without padding
        (512, 14),  # 32: padded to 42
        (1024, 14),  # 64: padded to 70, as SAM itself has it
        (240, 14),  # 15, odd
        (272, 7),  # 17, odd, padded to 21
        (112, 7),  # 7: one window
        (80, 14),  # 5: less than a window
    ],
)
def test_the_encoder_gives_what_segment_anything_gives(size_px, window_tokens):
    network = strengthened(recipe_of(size_px, window_tokens))
    image = torch.randn(2 if size_px < 1024 else 1, 3, size_px, size_px)
    with torch.inference_mode():
        expected = network.encoder(image)  # normalized by the neck: of the order of 1
        found = rewrite(network).encoder(image)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.1


@pytest.mark.parametrize("forgotten", ["row_table", "column_table", "query.bias", "out.bias"])
def test_every_part_matters(forgotten):
    network = strengthened(recipe_of(256, 14))
    rewritten = rewrite(network)
    image = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        for block in rewritten.encoder.blocks:
            block.attn.state_dict()[forgotten].zero_()
        difference = (rewritten.encoder(image) - network.encoder(image)).abs().max()
    assert difference > 1e-2


def test_the_original_is_left_as_it_is():
    network = strengthened(recipe_of(256, 14))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    rewritten = rewrite(network)
    with torch.no_grad():
        for parameter in rewritten.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())


def test_positions_by_hand():
    # One head of one feature, a slice of 2 × 2 tokens, query 1 everywhere: the logit of a key is
    # table_h[row of query − row of key + 1] + table_w[column of query − column of key + 1].
    class Original:
        num_heads = 1
        scale = 1.0
        qkv = nn.Linear(1, 3)
        proj = nn.Linear(1, 1)
        rel_pos_h = torch.tensor([[10.0], [20.0], [30.0]])  # key below, same row, key above
        rel_pos_w = torch.tensor([[1.0], [2.0], [3.0]])

    attention = Attention(Original(), window_tokens=0, grid_tokens=2)
    positions = attention._positions(torch.ones(1, 1, 4, 1))[0, 0]
    assert positions.tolist() == [
        [22, 21, 12, 11],  # query at row 0, column 0
        [23, 22, 13, 12],
        [32, 31, 22, 21],
        [33, 32, 23, 22],
    ]
