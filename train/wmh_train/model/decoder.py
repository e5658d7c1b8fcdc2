"""The decoder: from the encoder's coarse features to logits at each scale and full resolution."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wmh_train.recipe.network import DecoderSettings

_FUSION_WIDTH = 8
_LESION_PRIOR = 0.01  # lesion probability that an untrained head predicts


class Logits(NamedTuple):
    """Outputs of the network, before the sigmoid."""

    fused: Tensor  # [N, K, S, S]
    scales: list[Tensor]  # [N, K, s, s], coarse to fine; the last has s = S


class DetailBranch(nn.Module):
    """Convolutional features of the image, at full resolution and at each scale of the decoder.

    The encoder splits the image into patches, so a lesion of two or three pixels is only part of
    one token. These features give the decoder the fine detail at each scale.
    """

    def __init__(self, channels: int, widths: list[int]) -> None:
        super().__init__()
        self.at_full = nn.Sequential(*_convolution(channels, widths[0]))
        self.halvings = nn.ModuleList(
            nn.Sequential(*_convolution(finer, coarser, stride=2))
            for finer, coarser in pairwise(widths)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map [N, C, S, S] to one feature map per width, with sides S, S/2, S/4 and so on."""
        features = [self.at_full(image)]
        for halving in self.halvings:
            features.append(halving(features[-1]))
        return features


class UpStage(nn.Module):
    """Doubles the resolution, adds the detail features if any, and convolves once or twice."""

    def __init__(self, inputs: int, width: int, detail: int, *, refine: bool) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.ConvTranspose2d(inputs, width, kernel_size=2, stride=2),
            nn.BatchNorm2d(width),
            nn.GELU(),
        )
        refinement = _convolution(width, width) if refine else []
        self.convolve = nn.Sequential(*_convolution(width + detail, width), *refinement)

    def forward(self, features: Tensor, detail: Tensor | None) -> Tensor:
        """Map [N, inputs, s, s] to [N, width, 2s, 2s]."""
        up = self.up(features)
        return self.convolve(up if detail is None else torch.cat([up, detail], dim=1))


class MultiScaleDecoder(nn.Module):
    """One stage per doubling of the resolution, one head per stage, and a fusion of all heads.

    Args:
        inputs: number of channels of the encoder's output.
        settings: width of each stage, coarse to fine, and width of the detail branch at full
            resolution (0: no detail branch). That width doubles when the resolution halves.
        channels: C, number of image channels, for the detail branch.
        outputs: K, number of outputs.
    """

    def __init__(
        self, inputs: int, settings: DecoderSettings, *, channels: int, outputs: int
    ) -> None:
        super().__init__()
        widths = settings.widths
        details = [settings.detail_width * 2**halvings for halvings in range(len(widths))]
        self.detail = DetailBranch(channels, details) if settings.detail_width else None
        self.stages = nn.ModuleList(
            UpStage(before, width, extra, refine=width != widths[-1])
            for before, width, extra in zip([inputs, *widths], widths, details[::-1], strict=False)
        )
        self.heads = nn.ModuleList(_head(width, outputs) for width in widths)
        self.fuse = nn.Sequential(
            *_convolution(len(widths) * outputs, _FUSION_WIDTH), _head(_FUSION_WIDTH, outputs)
        )

    def forward(self, features: Tensor, image: Tensor) -> Logits:
        """Compute logits from features [N, inputs, s, s] of an image [N, C, S, S]."""
        details: list[Tensor | None] = [None] * len(self.stages)
        if self.detail is not None:
            details = self.detail(image)[::-1]
        scales = []
        for stage, head, detail in zip(self.stages, self.heads, details, strict=True):
            features = stage(features, detail)
            scales.append(head(features))
        size = scales[-1].shape[-2:]
        coarse = [F.interpolate(s, size=size, mode="bilinear") for s in scales[:-1]]
        return Logits(self.fuse(torch.cat([*coarse, scales[-1]], dim=1)), scales)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1),
        nn.BatchNorm2d(outputs),
        nn.GELU(),
    ]


def _head(inputs: int, outputs: int) -> nn.Conv2d:
    head = nn.Conv2d(inputs, outputs, kernel_size=1)
    set_prior(head)
    return head


def set_prior(head: nn.Conv2d) -> None:
    """Set the bias of a head so that lesions are improbable at first.

    Source: Lin et al. 2017, section 4.1. Without it, the network needs hundreds of steps to learn
    that most pixels are background.
    """
    assert head.bias is not None
    nn.init.constant_(head.bias, math.log(_LESION_PRIOR / (1 - _LESION_PRIOR)))
