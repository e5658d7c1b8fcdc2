"""Probabilities from the network: of one view, or the mean over eight views."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wmh_runtime.tta import VIEWS, View


class OneView(nn.Module):
    """Maps slices [N, C, S, S] to probabilities [N, K, S, S]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Return the probability of one view, the slices as they are."""
        return torch.sigmoid(self.network(image).fused)


class EightViews(OneView):
    """Maps slices to the mean probability over the eight symmetries, in one batch of 8 N views."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the mean probability over all eight views."""
        views = torch.cat([apply_view(view, image) for view in VIEWS])  # (8 N, C, S, S)
        outputs = super().forward(views)
        outputs = outputs.reshape(len(VIEWS), -1, *outputs.shape[1:])  # (8, N, K, S, S)
        aligned = [undo_view(view, output) for view, output in zip(VIEWS, outputs, strict=True)]
        return torch.stack(aligned).mean(dim=0)


def apply_view(view: View, image: Tensor) -> Tensor:
    """Transpose and flip images [..., S, S]. Pixel values stay as they are."""
    transposed = image.transpose(-2, -1) if view.transpose else image
    return transposed.flip(view.flipped_axes)


def undo_view(view: View, image: Tensor) -> Tensor:
    """Undo `apply_view` for images [..., S, S]."""
    flipped = image.flip(view.flipped_axes)
    return flipped.transpose(-2, -1) if view.transpose else flipped
