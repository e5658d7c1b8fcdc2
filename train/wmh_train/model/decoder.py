"""From the encoder's coarse features to logits at every scale and at full resolution."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wmh_train.recipe.recipe import DecoderSettings

_FUSION_WIDTH = 8
_LESION_PRIOR = 0.01  # share of lesion pixels that an untrained head expects


class Logits(NamedTuple):
    """What the network says, before the logistic function."""

    fused: Tensor  # [N, K, S, S]
    scales: list[Tensor]  # [N, K, s, s], coarse to fine, the last at s = S


class DetailBranch(nn.Module):
    """Convolutions of the image itself: at full resolution and at each scale of the decoder.

    The encoder sees patches; a lesion of two or three pixels has to be remembered inside one
    token. These features let the decoder see it, and its surroundings, at every scale.
    """

    def __init__(self, channels: int, widths: list[int]) -> None:
        super().__init__()
        self.at_full = nn.Sequential(*_convolution(channels, widths[0]))
        self.halvings = nn.ModuleList(
            nn.Sequential(*_convolution(finer, coarser, stride=2))
            for finer, coarser in pairwise(widths)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map [N, C, S, S] to features of each width, the first at S, each next at half."""
        features = [self.at_full(image)]
        for halving in self.halvings:
            features.append(halving(features[-1]))
        return features


class UpStage(nn.Module):
    """Doubles the resolution, takes in detail where there is any, convolves once or twice."""

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
    """One stage for each doubling, one head a stage, and a fusion of all heads.

    Args:
        inputs: channels of the encoder's output.
        settings: widths of the stages, coarse to fine, and of the detail branch at full
            resolution, which doubles at each halving (0: none).
        channels: C of the image, for the detail branch.
        outputs: K.
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
        """Decode features [N, inputs, s, s] of an image [N, C, S, S]."""
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
    """Make a head that starts by expecting few lesions (Lin et al. 2017, section 4.1).

    Without it, hundreds of steps go by until the background is believed.
    """
    head = nn.Conv2d(inputs, outputs, kernel_size=1)
    assert head.bias is not None
    nn.init.constant_(head.bias, math.log(_LESION_PRIOR / (1 - _LESION_PRIOR)))
    return head
