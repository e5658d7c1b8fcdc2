"""MONAI's U-Net: two convolutions at each resolution, full resolution included.

It is the conventional U-Net (Ronneberger et al. 2015, arXiv 1505.04597), to compare with.
"""

from __future__ import annotations

from collections.abc import Iterable

from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor, nn

from wmh_runtime.types import NetworkShape
from wmh_train.model.convolutional.convolutional_network import ConvolutionalNetwork, StagedEncoder
from wmh_train.model.decoder import set_prior
from wmh_train.recipe.network import MonaiUNetSettings


class MonaiUNet(ConvolutionalNetwork):
    """Segments preprocessed slices with MONAI's `BasicUNet` and BatchNorm.

    Args:
        settings: number of features at each resolution.
        shape: C, K and S.
    """

    first_layer = "encoder.stages.0.conv_0.conv"

    def __init__(self, settings: MonaiUNetSettings, shape: NetworkShape) -> None:
        super().__init__()
        finest, *_ = settings.widths
        unet = BasicUNet(
            spatial_dims=2,
            in_channels=shape.channels,
            out_channels=shape.outputs,
            features=(*settings.widths, finest),  # the last one is before the head
            norm="batch",
        )
        self.encoder = StagedEncoder(
            [unet.conv_0, unet.down_1, unet.down_2, unet.down_3, unet.down_4]
        )
        stages = [unet.upcat_4, unet.upcat_3, unet.upcat_2, unet.upcat_1]
        self.decoder = _Decoder(stages, unet.final_conv)

    def in_order(self) -> Iterable[nn.Module]:
        """Yield the parts of the network in the order in which they compute."""
        return [self.encoder, self.decoder]


class _Decoder(nn.Module):
    def __init__(self, stages: list[nn.Module], head: nn.Conv2d) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.head = head
        set_prior(head)

    def forward(self, features: list[Tensor]) -> Tensor:
        x, *skips = reversed(features)
        for stage, skip in zip(self.stages, skips, strict=True):
            x = stage(x, skip)
        logits: Tensor = self.head(x)
        return logits
