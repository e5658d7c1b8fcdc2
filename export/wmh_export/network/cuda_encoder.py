"""The rewritten encoder again, with operators that ONNX Runtime has for its CUDA provider.

    MultiHeadAttention      logits, softmax and weighted sum in one kernel, without storing logits
    SkipLayerNormalization  residual, bias of the layer before, and LayerNorm
    BiasGelu                bias and GELU, with the exact error function

A fast kernel of MultiHeadAttention takes no bias for the logits. So relative positions become
further features of query and key. The logits of SAM are

    q · k + row(q)[row of k] + column(q)[column of k],

where row(q) are the products of q with a table. With one-hot vectors e,

    q' = (q, row(q), column(q)),   k' = (k, e(row of k), e(column of k)),   q' · k' = the logits.

All heads of query, key and value must have one width, a multiple of 8: 64 becomes 96 in windows of
14 × 14 tokens, and 128 in slices of 32 × 32. The rest of k and v is made by rows of zeros in their
weights.

The query is multiplied by √width, because the operator divides the logits by it.

CUDA graphs capture only what runs on the GPU, with one shape. So no node here asks for a shape:
zeros are products with 0, and windows are gathered by constant indices.
"""

from __future__ import annotations

import copy
import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from wmh_export.network.attention import Attention
from wmh_export.network.rewrite import Encoder
from wmh_train.model.network import WmhNetwork
from wmh_train.model.sam_network import SamNetwork

DOMAIN = "com.microsoft"
_WIDTH_MULTIPLE = 8  # of a head, for fast kernels


def for_cuda(network: WmhNetwork) -> WmhNetwork:
    """Return a copy of a rewritten network with the encoder for the CUDA provider, if it has one.

    PyTorch can trace it, but not run it.
    """
    copied = copy.deepcopy(network)
    if isinstance(copied, SamNetwork):
        copied.encoder = CudaEncoder(cast("Encoder", copied.encoder))
    return copied


class CudaEncoder(nn.Module):
    """The encoder, [N, 3, S, S] to [N, C, grid, grid].

    Args:
        original: rewritten encoder; this object takes over its modules.
    """

    def __init__(self, original: Encoder) -> None:
        super().__init__()
        self.grid = original.grid
        self.patch_embed, self.neck = original.patch_embed, original.neck
        self.pos_embed = original.pos_embed
        first, *others = original.blocks
        self.norm = first.norm1  # of the first block; all others follow a residual
        self.blocks = nn.ModuleList(
            CudaBlock(block, following.norm1 if following else None)
            for block, following in zip(original.blocks, [*others, None], strict=True)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Encode the image."""
        tokens = self.patch_embed(image).flatten(1, 2) + self.pos_embed
        normalized = self.norm(tokens)
        for block in self.blocks:
            normalized, tokens = block(normalized, tokens)
        features: Tensor = self.neck(tokens.transpose(1, 2).unflatten(2, (self.grid, self.grid)))
        return features


class CudaBlock(nn.Module):
    """A transformer block, between one LayerNorm and the next.

    Args:
        block: of the rewritten encoder.
        next_norm: the first LayerNorm of the following block; None: this is the last one.
    """

    def __init__(self, block: Any, next_norm: nn.LayerNorm | None) -> None:
        super().__init__()
        self.attention = CudaAttention(block.attn)
        self.after_attention = SkipNorm(block.norm2, block.attn.out.bias)
        self.expand, self.expand_bias = _without_bias(block.mlp.lin1)
        self.contract, self.contract_bias = _without_bias(block.mlp.lin2)
        self.after_mlp = SkipNorm(next_norm, self.contract_bias) if next_norm else None

    def forward(self, normalized: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the block to tokens [N, grid², width].

        Args:
            normalized: the tokens after the first LayerNorm.
            tokens: as they are.

        Returns:
            Both for the next block. The last block returns its tokens twice.
        """
        normalized, tokens = self.after_attention(tokens, self.attention(normalized))
        hidden = self.expand(normalized)
        activated = torch.onnx.ops.symbolic(
            f"{DOMAIN}::BiasGelu",
            (hidden, self.expand_bias),
            dtype=hidden.dtype,
            shape=hidden.shape,
            version=1,
        )
        contracted = self.contract(activated)
        if self.after_mlp is None:
            last = tokens + (contracted + self.contract_bias)
            return last, last
        following: tuple[Tensor, Tensor] = self.after_mlp(tokens, contracted)
        return following


class SkipNorm(nn.Module):
    """Adds a layer's output and its bias to the tokens, and normalizes the sum."""

    def __init__(self, norm: nn.LayerNorm, bias: Tensor) -> None:
        super().__init__()
        self.gamma, self.beta = norm.weight, norm.bias
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.epsilon = norm.eps

    def forward(self, tokens: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalized sum, and the sum, both [N, grid², width]."""
        normalized, _, _, total = torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::SkipLayerNormalization",
            (tokens, output, self.gamma, self.beta, self.bias),
            {"epsilon": self.epsilon},
            dtypes=[tokens.dtype, torch.float32, torch.float32, tokens.dtype],
            shapes=[tokens.shape, (1,), (1,), tokens.shape],
            version=1,
        )
        return normalized, total


class CudaAttention(nn.Module):
    """Attention with relative positions as features of query and key. Its output has no bias.

    Args:
        original: rewritten attention; not changed.
    """

    key_positions: Tensor  # (side², heads · width), the one-hot vectors of a window
    windows: Tensor  # (windows² · side²,), the token of each place in the windows
    places: Tensor  # (grid²,), the place of each token
    row_table: Tensor  # (grid rows, d, features of a row)
    column_table: Tensor  # (grid columns, d, features of a column)

    def __init__(self, original: Attention) -> None:
        super().__init__()
        self.heads, self.head_width = original.heads, original.head_width
        self.grid, self.side = original.grid, original.side
        self.is_padded = original.windows * original.side > original.grid
        self.is_split = original.windows > 1 or self.is_padded
        needed = self.head_width + 2 * self.side
        self.width = _WIDTH_MULTIPLE * math.ceil(needed / _WIDTH_MULTIPLE)
        column_width = (self.width - self.head_width) // 2
        row_width = self.width - self.head_width - column_width
        self.query = _scaled(original.query, math.sqrt(self.width))
        self.key, self.value = (self._widened(one.weight) for one in (original.key, original.value))
        self.out = self._widened(original.out.weight.T, is_input=True)
        positions = torch.arange(self.side)
        rows, columns = torch.meshgrid(positions, positions, indexing="ij")
        by_head = torch.zeros(self.side**2, self.width)
        place = torch.arange(self.side**2)
        by_head[place, self.head_width + rows.flatten()] = 1
        by_head[place, self.head_width + row_width + columns.flatten()] = 1
        self.register_buffer("key_positions", by_head.repeat(1, self.heads))
        in_window = torch.arange(self.grid) % self.side
        for name, table, width in (
            ("row_table", original.row_table, row_width),
            ("column_table", original.column_table, column_width),
        ):
            padded = nn.functional.pad(table, (0, width - self.side))
            self.register_buffer(name, padded[in_window])
        windows, places = window_places(self.grid, self.side)
        self.register_buffer("windows", windows)
        self.register_buffer("places", places)

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply attention, [N, grid², width] to [N, grid², width]."""
        query = self._split(self._with_positions(self.query(tokens)), needs_zeros=False)
        key = self._split(self.key(tokens), needs_zeros=True) + self.key_positions
        value = self._split(self.value(tokens), needs_zeros=True)
        attended = torch.onnx.ops.symbolic(
            f"{DOMAIN}::MultiHeadAttention",
            (query, key, value),
            {"num_heads": self.heads},  # by default, logits are divided by √width
            dtype=query.dtype,
            shape=query.shape,
            version=1,
        )
        joined: Tensor = self.out(self._join(attended))
        return joined

    def _with_positions(self, query: Tensor) -> Tensor:
        """Append the products with both tables to each head, [N, grid², heads · width].

        Rows, then columns, come first in the products, so that each is one product of a batch.
        """
        grid, heads, d = self.grid, self.heads, self.head_width
        by_place = query.reshape(-1, grid, grid, heads * d)
        by_row = by_place.transpose(0, 1).reshape(grid, -1, d) @ self.row_table
        by_column = by_place.permute(2, 0, 1, 3).reshape(grid, -1, d) @ self.column_table
        features = [
            query.reshape(-1, grid, grid, heads, d),
            by_row.reshape(grid, -1, grid, heads, by_row.shape[-1]).transpose(0, 1),
            by_column.reshape(grid, -1, grid, heads, by_column.shape[-1]).permute(1, 2, 0, 3, 4),
        ]
        return torch.cat(features, dim=-1).reshape(-1, grid**2, heads * self.width)

    def _split(self, tokens: Tensor, *, needs_zeros: bool) -> Tensor:
        """Split [N, grid², C] into windows (n, side², C); padding is zero if it needs to be."""
        if not self.is_split:
            return tokens
        if needs_zeros and self.is_padded:
            tokens = torch.cat([tokens, tokens[:, :1] * 0], dim=1)
            windows = self.windows
        else:  # what is computed for padding is dropped
            windows = self.windows.clamp(max=self.grid**2 - 1)
        return tokens.index_select(1, windows).reshape(-1, self.side**2, tokens.shape[-1])

    def _join(self, windows: Tensor) -> Tensor:
        """Undo `_split`."""
        if not self.is_split:
            return windows
        by_place = windows.reshape(-1, len(self.windows), windows.shape[-1])
        return by_place.index_select(1, self.places)

    def _widened(self, weight: Tensor, *, is_input: bool = False) -> nn.Linear:
        """Return a projection of (heads · d, C) with zeros for the further features of each head.

        Args:
            weight: rows by head.
            is_input: the heads are its input, not its output.
        """
        by_head = weight.detach().reshape(self.heads, self.head_width, -1)
        missing = self.width - self.head_width
        padded = nn.functional.pad(by_head, (0, 0, 0, missing)).flatten(0, 1).contiguous()
        return _projection(padded.T.contiguous() if is_input else padded)


def _scaled(linear: nn.Linear, factor: float) -> nn.Linear:
    scaled = copy.deepcopy(linear)
    for parameter in scaled.parameters():
        parameter.mul_(factor)
    return scaled


def window_places(grid: int, side: int) -> tuple[Tensor, Tensor]:
    """Return where tokens go when a grid is split into windows.

    Args:
        grid: tokens per side of the slice.
        side: tokens per side of a window.

    Returns:
        The token of each place of all windows, one after the other, (windows² · side²,), `grid²`
        where there is none; and the place of each token, (grid²,).
    """
    count = -(-grid // side)
    tokens = torch.full((count * side, count * side), grid**2)
    tokens[:grid, :grid] = torch.arange(grid**2).reshape(grid, grid)
    by_window = tokens.reshape(count, side, count, side).transpose(1, 2).flatten()
    is_token = by_window < grid**2
    places = torch.empty(grid**2, dtype=torch.int64)
    places[by_window[is_token]] = torch.arange(len(by_window))[is_token]
    return by_window, places


def _without_bias(linear: nn.Linear) -> tuple[nn.Linear, nn.Parameter]:
    return _projection(linear.weight.detach()), nn.Parameter(
        linear.bias.detach(), requires_grad=False
    )


def _projection(weight: Tensor) -> nn.Linear:
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer
