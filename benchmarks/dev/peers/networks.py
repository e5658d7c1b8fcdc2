"""Networks of the shapes that other programs publish, with random weights.

Only the shapes are theirs: layers, features, kernels and strides, as their public code says. So
these networks take the time and the memory of the real ones, and their outputs mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from monai.networks.nets import DynUNet
from torch import Tensor, nn

_CUBE = (3, 3, 3)


def nnunet(strides: Sequence[tuple[int, int, int]], channels: int, outputs: int) -> nn.Module:
    """Return the U-Net of nnU-Net: two convolutions at each resolution, instance normalization.

    Args:
        strides: of the resolutions after the first.
        channels: images of a head.
        outputs: classes.
    """
    return DynUNet(
        spatial_dims=3,
        in_channels=channels,
        out_channels=outputs,
        kernel_size=[_CUBE] * (len(strides) + 1),
        strides=[(1, 1, 1), *strides],
        upsample_kernel_size=list(strides),
        norm_name=("INSTANCE", {"affine": True}),
    )


class LstAiUNet(nn.Module):
    """One of the three U-Nets of LST-AI: features grow by the same number at each resolution.

    Args:
        width: features at full resolution; at the next resolutions twice as many, three times …
        bottleneck: features at the coarsest one.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        widths = [width * level for level in range(1, 6)]
        inputs_of_blocks = [2, *widths[1:]]  # FLAIR and T1
        self.encoders = nn.ModuleList(map(_lst_ai_block, inputs_of_blocks, widths))
        self.downs = nn.ModuleList(
            _lst_ai_layer(nn.Conv3d, inputs, outputs, side=4)
            for inputs, outputs in pairwise([*widths, bottleneck])
        )
        self.bottleneck = _lst_ai_block(bottleneck, bottleneck)
        coarse_to_fine = list(pairwise([bottleneck, *reversed(widths)]))
        self.ups = nn.ModuleList(
            _lst_ai_layer(nn.ConvTranspose3d, inputs, outputs, side=4)
            for inputs, outputs in coarse_to_fine
        )
        self.decoders = nn.ModuleList(
            _lst_ai_block(2 * outputs, outputs) for _, outputs in coarse_to_fine
        )
        self.head = nn.Conv3d(width, 1, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map images, [1, 2, x, y, z], to probabilities, [1, 1, x, y, z]."""
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(image))
            image = down(skips[-1])
        image = self.bottleneck(image)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            image = decoder(torch.cat([skips.pop(), up(image)], dim=1))
        return torch.sigmoid(self.head(image))


def _lst_ai_block(inputs: int, outputs: int) -> nn.Module:
    first = _lst_ai_layer(nn.Conv3d, inputs, outputs, side=3)
    return nn.Sequential(first, _lst_ai_layer(nn.Conv3d, outputs, outputs, side=3))


def _lst_ai_layer(
    kind: type[nn.Conv3d] | type[nn.ConvTranspose3d], inputs: int, outputs: int, side: int
) -> nn.Module:
    """Return a convolution of 3³ voxels, or one of 4³ that halves or doubles the resolution."""
    stride = 2 if side == 4 else 1
    convolution = kind(inputs, outputs, side, stride, padding=1, bias=False)
    norm = nn.GroupNorm(outputs, outputs, eps=1e-3)
    return nn.Sequential(convolution, norm, nn.LeakyReLU(0.3, inplace=True))


class SynthSegUNet(nn.Module):
    """The U-Net of WMH-SynthSeg: group normalization before each convolution."""

    _WIDTHS = (64, 128, 256, 512, 1024)
    _OUTPUTS = 39

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            _group_norm_block(inputs, max(outputs // 2, inputs), outputs)
            for inputs, outputs in pairwise((1, *self._WIDTHS))
        )
        self.decoders = nn.ModuleList(
            _group_norm_block(coarse + fine, fine, fine)
            for coarse, fine in pairwise(reversed(self._WIDTHS))
        )
        self.head = nn.Conv3d(self._WIDTHS[0], self._OUTPUTS, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image, [1, 1, x, y, z], to logits, [1, 39, x, y, z]."""
        skips: list[Tensor] = []
        for encoder in self.encoders:
            image = encoder(F.max_pool3d(image, 2) if skips else image)
            skips.append(image)
        image = skips.pop()
        for decoder in self.decoders:
            skip = skips.pop()
            up = F.interpolate(image, size=skip.shape[2:], mode="nearest")
            image = decoder(torch.cat([skip, up], dim=1))
        return self.head(image)


def _group_norm_block(inputs: int, middle: int, outputs: int) -> nn.Module:
    layers: list[nn.Module] = []
    for fan_in, fan_out in ((inputs, middle), (middle, outputs)):
        layers += [
            nn.GroupNorm(8 if fan_in >= 8 else 1, fan_in),
            nn.Conv3d(fan_in, fan_out, kernel_size=3, padding=1, bias=False),
            nn.LeakyReLU(0.01, inplace=True),
        ]
    return nn.Sequential(*layers)
