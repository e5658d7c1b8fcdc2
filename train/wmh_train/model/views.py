"""From logits to the probability that a bundle gives: of one view, or averaged over eight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wmh_runtime.tta import VIEWS, View


class OneView(nn.Module):
    """The network's probability, [N, C, S, S] to [N, K, S, S]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Look at the slices as they are."""
        return torch.sigmoid(self.network(image).fused)


class EightViews(OneView):
    """The mean probability over the eight symmetries, all in one batch of 8 N."""

    def forward(self, image: Tensor) -> Tensor:
        """Look at the slices in all eight ways."""
        views = torch.cat([apply_view(view, image) for view in VIEWS])  # (8 N, C, S, S)
        seen = super().forward(views)
        seen = seen.reshape(len(VIEWS), -1, *seen.shape[1:])  # (8, N, K, S, S)
        undone = [undo_view(view, one) for view, one in zip(VIEWS, seen, strict=True)]
        return torch.stack(undone).mean(dim=0)


def apply_view(view: View, image: Tensor) -> Tensor:
    """Turn or mirror images, [..., S, S]: pixels change places and keep their values."""
    turned = image.transpose(-2, -1) if view.transpose else image
    return turned.flip(view.flipped_axes)


def undo_view(view: View, image: Tensor) -> Tensor:
    """Turn and mirror images, [..., S, S], back from `apply_view`."""
    flipped = image.flip(view.flipped_axes)
    return flipped.transpose(-2, -1) if view.transpose else flipped
