"""The rewritten attention with PyTorch's own kernel, as a comparison for engines.

The graphs for engines use plain operators (`wmh_export.network.attention`). Here the same layers
call `scaled_dot_product_attention`, with the relative positions as its additive mask.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from wmh_export.network.attention import Attention


class ScaledDotProductAttention(Attention):
    """Same weights and results as `Attention`, computed by one PyTorch function."""

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        positions = self._position_bias(query)
        # The weights of the query contain the scale.
        return F.scaled_dot_product_attention(query, key, value, positions, scale=1.0)
