"""The encoder with the operators of ONNX Runtime gives the same result, executed on the CPU."""

import copy

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.export.network.test_attention import network_with_large_logits, recipe_of
from wmh_export.graphs.cuda_variant import drop_unused_outputs
from wmh_export.graphs.trace import INPUT_NAME, trace
from wmh_export.network.cuda_encoder import CudaEncoder, for_cuda, window_places
from wmh_export.network.rewrite import rewrite


class Encoding(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, image):
        return self.encoder(image)


def traced(encoder, size_px):
    model = trace(Encoding(encoder), 3, size_px)
    drop_unused_outputs(model)
    return model


def run(model, image):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {INPUT_NAME: image.numpy()})[0]


@pytest.mark.parametrize(
    ("size_px", "window_tokens"),
    [
        (256, 14),  # 16 tokens per side, padded to 28
        (448, 14),  # 28, no padding
        (272, 7),  # 17, odd, padded to 21
        pytest.param(240, 14, marks=pytest.mark.exhaustive),  # 15, odd, padded to 28
        pytest.param(112, 7, marks=pytest.mark.exhaustive),  # 7, one window, as in the global block
        pytest.param(80, 14, marks=pytest.mark.exhaustive),  # 5, smaller than a window
    ],
)
def test_the_encoder_agrees_with_the_rewritten_one(size_px, window_tokens):
    rewritten = rewrite(network_with_large_logits(recipe_of(size_px, window_tokens)))
    image = torch.randn(2, 3, size_px, size_px)
    with torch.inference_mode():
        expected = rewritten.encoder(image).numpy()
    model = traced(CudaEncoder(copy.deepcopy(rewritten.encoder)), size_px)
    np.testing.assert_allclose(run(model, image), expected, atol=5e-5)
    assert expected.std() > 0.1
    operators = [node.op_type for node in model.graph.node]
    # Two blocks; the last residual is not followed by a LayerNorm.
    counts = [operators.count(f"{kind}") for kind in ("MultiHeadAttention", "BiasGelu")]
    assert (counts, operators.count("SkipLayerNormalization")) == ([2, 2], 3)
    assert "Shape" not in operators
    heads = {
        attribute.name: attribute
        for node in model.graph.node
        if node.op_type == "MultiHeadAttention"
        for attribute in node.attribute
    }
    assert heads["num_heads"].i == 3
    assert "scale" not in heads  # some kernels of ONNX Runtime take no other than the default


def test_the_network_is_copied():
    rewritten = rewrite(network_with_large_logits(recipe_of(256, 14)))
    before = {name: tensor.clone() for name, tensor in rewritten.state_dict().items()}
    changed = for_cuda(rewritten)
    assert isinstance(changed.encoder, CudaEncoder)
    after = rewritten.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_heads_are_as_wide_as_the_relative_positions_need_in_multiples_of_eight():
    # Heads of 4 features: 4 + 14 + 14 = 32 in windows, and 4 + 16 + 16 = 36, so 40, in the slice.
    encoder = for_cuda(rewrite(network_with_large_logits(recipe_of(256, 14)))).encoder
    assert sorted(block.attention.width for block in encoder.blocks) == [32, 40]


@given(st.integers(1, 20), st.integers(1, 8))
def test_windows_hold_each_token_once_and_places_find_it(grid, side):
    windows, places = window_places(grid, side)
    assert sorted(windows[windows < grid**2].tolist()) == list(range(grid**2))
    assert windows[places].tolist() == list(range(grid**2))


def test_windows_of_a_grid_by_hand():
    # 3 × 3 tokens in windows of 2 × 2; the place 9 is padding.
    windows, places = window_places(3, 2)
    assert windows.reshape(4, 4).tolist() == [
        [0, 1, 3, 4],
        [2, 9, 5, 9],
        [6, 7, 9, 9],
        [8, 9, 9, 9],
    ]
    assert places.tolist() == [0, 1, 4, 2, 3, 6, 8, 9, 12]
