"""What all convolutional networks share: an encoder, a decoder, logits at full resolution."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor, nn

from wmh_train.model.decoder import Logits


class ConvolutionalNetwork(nn.Module):
    """Segments preprocessed slices by an encoder and a decoder with skip connections.

    Attributes:
        encoder: maps [N, C, S, S] to features, fine to coarse.
        decoder: maps features to logits [N, K, S, S].
        first_layer: name of the first convolution.
        last_layer: name of the last convolution.
        pretrained_names: none: whatever its weights come from, a checkpoint holds them.
    """

    encoder: nn.Module
    decoder: nn.Module
    first_layer: ClassVar[str]
    last_layer: ClassVar[str] = "decoder.head"
    pretrained_names: ClassVar[frozenset[str]] = frozenset()

    def forward(self, image: Tensor) -> Logits:
        """Segment preprocessed slices.

        Args:
            image: float32 [N, C, S, S], from `wmh_runtime.preprocessing.preprocess`.

        Returns:
            Logits at full resolution only.
        """
        return Logits(self.decoder(self.encoder(image)), [])

    def in_order(self) -> Iterable[nn.Module]:
        """Yield the parts of the network in the order in which they compute."""
        raise NotImplementedError


class StagedEncoder(nn.Module):
    """Maps an image to the features after each of its stages, fine to coarse."""

    def __init__(self, stages: Iterable[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the features of images [N, C, S, S]."""
        features = []
        for stage in self.stages:
            image = stage(image)
            features.append(image)
        return features


def convolution(inputs: int, outputs: int, *, stride: int = 1, side: int = 3) -> list[nn.Module]:
    """Return a convolution with BatchNorm and ReLU."""
    return [
        nn.Conv2d(inputs, outputs, side, stride, padding=side // 2),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
