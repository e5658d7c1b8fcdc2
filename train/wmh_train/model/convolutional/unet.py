"""The U-Net: a small convolutional network with skip connections (Ronneberger et al. 2015)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wmh_runtime.types import NetworkShape
from wmh_train.model.convolutional.convolutional_network import (
    ConvolutionalNetwork,
    StagedEncoder,
    convolution,
)
from wmh_train.model.decoder import set_prior
from wmh_train.recipe.network import UNetSettings

_FACTOR = 2  # the finest features have half of the resolution; the head restores it
_STEM_PX = 5  # side of the first convolution


class UNet(ConvolutionalNetwork):
    """Segments preprocessed slices.

    The first convolution halves the resolution, because features at full resolution would take most
    of the time. The head predicts four pixels for each position of the finest features.

    Args:
        settings: number of features at each resolution.
        shape: C, K and S.
    """

    first_layer = "encoder.stages.0.0"

    def __init__(self, settings: UNetSettings, shape: NetworkShape) -> None:
        super().__init__()
        self.encoder: Encoder = Encoder(shape.channels, settings.widths)
        self.decoder: Decoder = Decoder(settings.widths, shape.outputs)

    def in_order(self) -> Iterable[nn.Module]:
        """Yield the parts of the network in the order in which they compute."""
        decoder = self.decoder
        yield self.encoder
        for project, stage in zip(decoder.projections, decoder.stages, strict=True):
            yield from (project, stage)
        yield decoder.head


class Encoder(StagedEncoder):
    """Maps [N, C, S, S] to features with sides S/2, S/4 and so on, one map for each width."""

    def __init__(self, channels: int, widths: list[int]) -> None:
        first, *_ = widths
        stem = convolution(channels, first, stride=_FACTOR, side=_STEM_PX)
        stages = [nn.Sequential(*stem, *convolution(first, first))]
        for finer, width in pairwise(widths):
            halving, refinement = convolution(finer, width, stride=2), convolution(width, width)
            stages.append(nn.Sequential(*halving, *refinement, *convolution(width, width)))
        super().__init__(stages)


class Decoder(nn.Module):
    """Maps the features of the encoder to logits [N, K, S, S]."""

    def __init__(self, widths: list[int], outputs: int) -> None:
        super().__init__()
        finest, *_ = widths
        coarse_to_fine = list(pairwise(reversed(widths)))
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Conv2d(coarser, width, kernel_size=1), nn.BatchNorm2d(width))
            for coarser, width in coarse_to_fine
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                *convolution(2 * width, width),
                *(convolution(width, width) if width != finest else []),
            )
            for _, width in coarse_to_fine
        )
        self.head = nn.Conv2d(finest, outputs * _FACTOR**2, kernel_size=1)
        set_prior(self.head)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Compute logits from features, fine to coarse."""
        x, *skips = reversed(features)
        for project, stage, skip in zip(self.projections, self.stages, skips, strict=True):
            up = F.interpolate(project(x), scale_factor=2.0, mode="nearest")
            x = stage(torch.cat([up, skip], dim=1))
        return F.pixel_shuffle(self.head(x), _FACTOR)
