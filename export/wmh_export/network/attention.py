"""SAM's attention, rewritten without changing its result: less work, operators all engines support.

segment-anything pads the normalized tokens with zeros to whole windows and projects the padding
too. Here only real tokens are projected. Two identities make this exact. With b_k and b_v the
biases of key and value, and a the attention weights:

    softmax ignores a constant added to all logits:   q · (k + b_k) = q · k + constant
    attention weights sum to 1:                       Σ a (v + b_v) = Σ a v + b_v

So b_k is dropped and b_v is added to the bias of the output projection. The keys and values of
padding tokens were b_k and b_v; they become zeros, which is what padding after the projection
gives.

The scale 1/√d is multiplied into the weights of the query. The relative positions are constant
tables multiplied by the query and added to the logits. The remaining pattern, MatMul, Add, Softmax,
MatMul, is the one that engines fuse into a single kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention within square windows, or over the whole slice.

    Args:
        original: segment-anything's attention; not changed.
        window_tokens: side of a window, in tokens; 0: one window for the whole slice.
        grid_tokens: side of the slice, in tokens.
    """

    row_table: Tensor  # (query rows, d, key rows)
    column_table: Tensor  # (query columns, d, key columns)

    def __init__(self, original: Any, window_tokens: int, grid_tokens: int) -> None:
        super().__init__()
        self.heads: int = original.num_heads
        self.head_width = original.qkv.in_features // self.heads  # d
        self.grid = grid_tokens
        self.side = window_tokens or grid_tokens
        self.windows = -(-self.grid // self.side)  # along each axis, rounded up
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
            self.register_buffer(name, _expand_by_position(table.detach(), self.side) / scale)

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply attention, [N, grid², width] to [N, grid², width]."""
        query, key, value = (
            self._split_windows(project(tokens)) for project in (self.query, self.key, self.value)
        )
        attended: Tensor = self.out(self._join_windows(self._attend(query, key, value)))
        return attended

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Apply attention within windows; all tensors are (n, heads, side², d)."""
        logits = query @ key.transpose(-2, -1) + self._position_bias(query)
        # Softmax is in float32, in a float16 network too.
        weights = torch.softmax(logits.float(), dim=-1).to(value.dtype)
        return weights @ value

    def _position_bias(self, query: Tensor) -> Tensor:
        """Return the relative-position term of the logits, (n, heads, side², side²)."""
        grid = query.reshape(-1, self.heads, self.side, self.side, self.head_width)
        by_row = grid @ self.row_table  # (n, heads, rows, columns, key rows)
        by_column = (grid.transpose(2, 3) @ self.column_table).transpose(2, 3)
        by_both = by_row[..., :, None] + by_column[..., None, :]
        return by_both.reshape(-1, self.heads, self.side**2, self.side**2)

    def _split_windows(self, tokens: Tensor) -> Tensor:
        """Split [N, grid², heads · d] into windows padded with zeros, (n, heads, side², d)."""
        slices = tokens.reshape(-1, self.grid, self.grid, tokens.shape[-1])
        padded = self._pad(self._pad(slices, axis=2), axis=1)
        tiles = padded.reshape(
            -1, self.windows, self.side, self.windows, self.side, self.heads, self.head_width
        )
        grouped = tiles.permute(0, 1, 3, 5, 2, 4, 6)  # (N, windows, windows, heads, side, side, d)
        return grouped.reshape(-1, self.heads, self.side**2, self.head_width)

    def _pad(self, slices: Tensor, axis: int) -> Tensor:
        """Append zeros up to whole windows, [N, rows, columns, C], along axis 1 or 2.

        Uses Concat, because Pad took half of ONNX Runtime's total time on a GPU.
        """
        missing = self.windows * self.side - self.grid
        if not missing:
            return slices
        shape = list(slices.shape)
        shape[axis] = missing
        return torch.cat([slices, slices.new_zeros(1).expand(shape)], dim=axis)

    def _join_windows(self, windows: Tensor) -> Tensor:
        """Undo `_split_windows`: (n, heads, side², d) to [N, grid², heads · d]."""
        grouped = windows.reshape(
            -1, self.windows, self.windows, self.heads, self.side, self.side, self.head_width
        )
        tiles = grouped.permute(0, 1, 4, 2, 5, 3, 6)
        padded_side = self.windows * self.side
        padded = tiles.reshape(-1, padded_side, padded_side, self.heads * self.head_width)
        return padded[:, : self.grid, : self.grid].flatten(1, 2)


def _expand_by_position(table: Tensor, side: int) -> Tensor:
    """Expand a table by distance, (2 side − 1, d), to one by query and key, (side, d, side)."""
    assert len(table) == 2 * side - 1, "segment-anything would resize a table of another size"
    position = torch.arange(side)
    return table[position[:, None] - position + side - 1].transpose(1, 2).contiguous()


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer
