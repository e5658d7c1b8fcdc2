"""The rewritten attention by PyTorch's own kernels, to compare engines with.

Graphs for engines are written in plain operators (`wmh_export.network.attention`). Here the same
layers attend by `scaled_dot_product_attention`, the positions as its additive mask.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from wmh_export.network.attention import Attention


class ScaledDotProductAttention(Attention):
    """Attends by one function of PyTorch; weights and results are those of `Attention`."""

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        positions = self._positions(query)
        # The scale is in the query's weights already.
        return F.scaled_dot_product_attention(query, key, value, positions, scale=1.0)
