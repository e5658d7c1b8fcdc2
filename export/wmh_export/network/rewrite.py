"""Rewrite the encoder of a merged network with operators that execute faster."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from wmh_export.network.attention import Attention
from wmh_train.model.convolutional.convolutional_network import ConvolutionalNetwork
from wmh_train.model.network import WmhNetwork


def rewrite(network: WmhNetwork, attention: type[Attention] = Attention) -> WmhNetwork:
    """Return a copy of a merged network; the encoder of a SAM-type network is an `Encoder`.

    Args:
        network: without LoRA adapters; not changed.
        attention: attention class of the new encoder.
    """
    rewritten = copy.deepcopy(network)
    if isinstance(rewritten, ConvolutionalNetwork):
        return rewritten
    rewritten.encoder = Encoder(rewritten.encoder, attention)
    return rewritten


class Encoder(nn.Module):
    """Segment-anything's encoder, with tokens as [N, tokens, width].

    With [N, rows, columns, width], as in segment-anything, some engines transpose the tokens
    before and after every LayerNorm.

    Args:
        original: segment-anything's encoder; this object takes over its modules.
        attention: attention class of the blocks.
    """

    def __init__(self, original: Any, attention: type[Attention]) -> None:
        super().__init__()
        self.grid: int = original.pos_embed.shape[1]  # tokens per side
        self.patch_embed = original.patch_embed
        self.blocks = original.blocks
        self.neck = original.neck
        self.pos_embed = nn.Parameter(original.pos_embed.detach().flatten(1, 2))
        for block in self.blocks:
            block.attn = attention(block.attn, block.window_size, self.grid)
            block.window_size = 0  # the attention splits the windows itself
        for i, layer in enumerate(self.neck):
            if not isinstance(layer, nn.Conv2d):
                self.neck[i] = ChannelNorm(layer)

    def forward(self, image: Tensor) -> Tensor:
        """Encode the image, [N, 3, S, S] to [N, C, grid, grid]."""
        tokens = self.patch_embed(image).flatten(1, 2) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        features: Tensor = self.neck(tokens.transpose(1, 2).unflatten(2, (self.grid, self.grid)))
        return features


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of [N, C, H, W], as one ONNX operator instead of seven."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(len(original.weight), eps=original.eps)
        self.norm.weight, self.norm.bias = original.weight, original.bias

    def forward(self, features: Tensor) -> Tensor:
        """Normalize the channels of each pixel."""
        normalized: Tensor = self.norm(features.permute(0, 2, 3, 1))
        return normalized.permute(0, 3, 1, 2)
