"""The rewritten attention on PyTorch's own fused kernels, to compare engines with.

Graphs for engines are written in plain operators (`wmh_export.attention`). Here the same layers
attend by `scaled_dot_product_attention`, the positions as its additive mask.
"""

from __future__ import annotations

import copy

import torch.nn.functional as F
from torch import Tensor

from wmh_export.attention import Attention
from wmh_train.model.network import WmhNetwork


class FusedAttention(Attention):
    """Attends by PyTorch's fused kernel; weights and results are those of `Attention`."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend: [N, grid², width] to the same."""
        query, key, value = (
            self._cut(project(tokens)) for project in (self.query, self.key, self.value)
        )
        positions = self._positions(query)
        # The scale is in the query's weights already.
        attended = F.scaled_dot_product_attention(query, key, value, positions, scale=1.0)
        out: Tensor = self.out(self._join(attended))
        return out


def with_fused_attention(network: WmhNetwork) -> WmhNetwork:
    """Return a copy of a rewritten network that attends by `FusedAttention`."""
    fused = copy.deepcopy(network)
    for module in fused.modules():
        if isinstance(module, Attention):
            module.__class__ = FusedAttention
    return fused
