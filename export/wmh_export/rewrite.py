"""A merged network rewritten for execution: the same function of other operators."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from wmh_export.attention import Attention
from wmh_train.model.network import WmhNetwork


def rewrite(network: WmhNetwork) -> WmhNetwork:
    """Return a copy of a merged network whose encoder attends by `Attention`.

    Args:
        network: without adapters; left as it is.
    """
    rewritten = copy.deepcopy(network)
    encoder: Any = rewritten.encoder
    for block in encoder.blocks:
        block.attn = Attention(block.attn, block.window_size, encoder.pos_embed.shape[1])
        block.window_size = 0  # windows are its attention's affair now
    for i, layer in enumerate(encoder.neck):
        if not isinstance(layer, nn.Conv2d):
            encoder.neck[i] = ChannelNorm(layer)
    return rewritten


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of [N, C, H, W], as one operator instead of seven."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(len(original.weight), eps=original.eps)
        self.norm.weight, self.norm.bias = original.weight, original.bias

    def forward(self, features: Tensor) -> Tensor:
        """Normalise each pixel."""
        normed: Tensor = self.norm(features.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)
