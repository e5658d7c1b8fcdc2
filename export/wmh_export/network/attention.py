"""SAM's attention, rewritten exactly: less work, and operators that every engine knows.

segment-anything pads the normalized tokens with zeros to whole windows and projects the padding
too. Here only real tokens are projected. Two identities make that exact, with b_k and b_v the
biases of key and value:

    softmax over keys forgets what all of them share:  q · (k + b_k) = q · k + a constant
    its weights add up to 1:                           Σ a (v + b_v) = Σ a v + b_v

So b_k goes, b_v moves into the bias of the output, and the padding, whose key and value were
b_k and b_v, becomes zeros: what padding after the projection gives.

The scale 1/√d moves into the weights of the query. Relative positions are constant tables times
the query, added to the logits. What is left is MatMul, Add, Softmax, MatMul: the pattern that
engines fuse.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention within square windows, or across the whole slice.

    Args:
        original: segment-anything's attention; left as it is.
        window_tokens: side of a window; 0 makes the slice one window.
        grid_tokens: side of the slice.
    """

    row_table: Tensor  # (rows, d, rows of keys)
    column_table: Tensor  # (columns, d, columns of keys)

    def __init__(self, original: Any, window_tokens: int, grid_tokens: int) -> None:
        super().__init__()
        self.heads: int = original.num_heads
        self.width = original.qkv.in_features // self.heads  # d
        self.grid = grid_tokens
        self.side = window_tokens or grid_tokens
        self.windows = -(-self.grid // self.side)  # along each axis
        query, key, value = original.qkv.weight.detach().chunk(3)
        query_bias, _, value_bias = original.qkv.bias.detach().chunk(3)
        out, out_bias = original.proj.weight.detach(), original.proj.bias.detach()
        scale = original.scale
        self.query = _linear(query * scale, query_bias * scale)
        self.key, self.value = _linear(key), _linear(value)
        self.out = _linear(out, out_bias + out @ value_bias)
        for name, table in (
            ("row_table", original.rel_pos_h),
            ("column_table", original.rel_pos_w),
        ):
            self.register_buffer(name, _by_pair(table.detach(), self.side) / scale)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend: [N, grid², width] to the same."""
        query, key, value = (
            self._cut(project(tokens)) for project in (self.query, self.key, self.value)
        )
        attended: Tensor = self.out(self._join(self._attend(query, key, value)))
        return attended

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend within windows, (n, heads, side², d) each."""
        logits = query @ key.transpose(-2, -1) + self._positions(query)
        weights = torch.softmax(logits.float(), dim=-1).to(value.dtype)  # float32 in a half too
        return weights @ value

    def _positions(self, query: Tensor) -> Tensor:
        """Return what the distance of a key adds to its logit, (n, heads, side², side²)."""
        grid = query.reshape(-1, self.heads, self.side, self.side, self.width)
        by_row = grid @ self.row_table  # (n, heads, rows, columns, rows of keys)
        by_column = (grid.transpose(2, 3) @ self.column_table).transpose(2, 3)
        by_both = by_row[..., :, None] + by_column[..., None, :]
        return by_both.reshape(-1, self.heads, self.side**2, self.side**2)

    def _cut(self, tokens: Tensor) -> Tensor:
        """Cut [N, grid², heads · d] into windows padded with zeros, (n, heads, side², d)."""
        slices = tokens.reshape(-1, self.grid, self.grid, tokens.shape[-1])
        padded = self._padded(self._padded(slices, axis=2), axis=1)
        tiles = padded.reshape(
            -1, self.windows, self.side, self.windows, self.side, self.heads, self.width
        )
        together = tiles.permute(0, 1, 3, 5, 2, 4, 6)  # (N, windows, windows, heads, side, side, d)
        return together.reshape(-1, self.heads, self.side**2, self.width)

    def _padded(self, slices: Tensor, axis: int) -> Tensor:
        """Append zeros to whole windows, [N, rows, columns, C], along axis 1 or 2.

        By concatenation: ONNX Runtime's Pad took half of all its time on a GPU.
        """
        missing = self.windows * self.side - self.grid
        if not missing:
            return slices
        shape = list(slices.shape)
        shape[axis] = missing
        return torch.cat([slices, slices.new_zeros(1).expand(shape)], dim=axis)

    def _join(self, windows: Tensor) -> Tensor:
        """Undo `_cut`."""
        together = windows.reshape(
            -1, self.windows, self.windows, self.heads, self.side, self.side, self.width
        )
        tiles = together.permute(0, 1, 4, 2, 5, 3, 6)
        padded = self.windows * self.side
        whole = tiles.reshape(-1, padded, padded, self.heads * self.width)
        return whole[:, : self.grid, : self.grid].flatten(1, 2)


def _by_pair(table: Tensor, side: int) -> Tensor:
    """Turn (2 side − 1, d), by distance, into (side, d, side), by place of query and of key."""
    assert len(table) == 2 * side - 1, "a table of another side: segment-anything would resize it"
    place = torch.arange(side)
    return table[place[:, None] - place + side - 1].transpose(1, 2).contiguous()


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer
