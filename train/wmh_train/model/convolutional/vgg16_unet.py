"""A U-Net whose encoder is VGG16: thirteen convolutions (Simonyan and Zisserman 2015).

arXiv 1409.1556, with BatchNorm. The names and shapes are those of torchvision's `vgg16_bn`, so that
its weights, learned from photographs (ImageNet), can be loaded. They expect slices from 0 to 1:
the normalization `percentile`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wmh_runtime.errors import InputError
from wmh_runtime.types import NetworkShape
from wmh_train.model.convolutional.convolutional_network import ConvolutionalNetwork, convolution
from wmh_train.model.decoder import set_prior
from wmh_train.model.pretrained import PretrainedWeights, identify_pretrained, read_state
from wmh_train.recipe.network import Vgg16UNetSettings

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_FEATURES = "features."
_CLASSIFIER = "classifier."  # not used
COLOR_MEANS = (0.485, 0.456, 0.406)  # of ImageNet, as torchvision documents them
COLOR_SPREADS = (0.229, 0.224, 0.225)
_ADVICE = "Give the weights of torchvision's vgg16_bn, such as vgg16_bn-6c64b313.pth."


class Vgg16UNet(ConvolutionalNetwork):
    """Segments preprocessed slices.

    Args:
        settings: number of features of the decoder at each resolution.
        shape: C, K and S.
        pretrained: weights of the encoder. None: random weights, as in the decoder.
    """

    first_layer = "encoder.features.0"

    def __init__(
        self,
        settings: Vgg16UNetSettings,
        shape: NetworkShape,
        pretrained: PretrainedWeights | None = None,
    ) -> None:
        super().__init__()
        self.encoder = Vgg16Encoder(shape.channels)
        if pretrained is not None:
            load_vgg16(self.encoder, pretrained)
        self.decoder = _Decoder(settings.decoder_widths, shape.outputs)

    def in_order(self) -> Iterable[nn.Module]:
        """Yield the parts of the network in the order in which they compute."""
        return [self.encoder, self.decoder]


class Vgg16Encoder(nn.Module):
    """Maps [N, C, S, S] to features with sides S, S/2, S/4, S/8 and S/16.

    The last pooling and the classifier of VGG16 are left out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for block in _BLOCKS:
            for width in block:
                layers += convolution(channels, width)
                channels = width
            layers.append(nn.MaxPool2d(kernel_size=2))
        self.features = nn.Sequential(*layers[:-1])

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the features, fine to coarse: the output of each block before it is pooled."""
        features = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                features.append(image)
            image = layer(image)
        return [*features, image]


class _Decoder(nn.Module):
    """Maps the features of the encoder to logits [N, K, S, S]."""

    def __init__(self, widths: list[int], outputs: int) -> None:
        super().__init__()
        skips = [block[-1] for block in reversed(_BLOCKS)]
        self.stages = nn.ModuleList(
            nn.Sequential(*convolution(coarser + skip, width), *convolution(width, width))
            for (coarser, width), skip in zip(pairwise([skips[0], *widths]), skips[1:], strict=True)
        )
        self.head = nn.Conv2d(widths[-1], outputs, kernel_size=1)
        set_prior(self.head)

    def forward(self, features: list[Tensor]) -> Tensor:
        x, *skips = reversed(features)
        for stage, skip in zip(self.stages, skips, strict=True):
            up = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = stage(torch.cat([up, skip], dim=1))
        logits: Tensor = self.head(x)
        return logits


def read_vgg16(path: Path) -> PretrainedWeights:
    """Check a file of the weights of torchvision's `vgg16_bn` and hash it.

    Raises:
        InputError: the file cannot be read, is of another network, or has values that are not
            finite.
    """
    pretrained = identify_pretrained(path, _ADVICE)
    _read_convolutions(path)
    return pretrained


def _read_convolutions(path: Path) -> dict[str, Tensor]:
    """Return the weights of the thirteen convolutions by their names in the encoder, float32."""
    state = read_state(path, _ADVICE)
    expected = Vgg16Encoder(channels=3).state_dict()
    tensors = {key: one.float() for key, one in state.items() if key.startswith(_FEATURES)}
    others = [key for key in state if not key.startswith((_FEATURES, _CLASSIFIER))]
    differing = sorted(tensors.keys() ^ expected.keys()) or others
    if differing:
        problem = f"is not vgg16_bn: {len(differing)} keys differ, such as {differing[0]}"
        raise InputError(problem, _ADVICE, about=path)
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            problem = f"{key} has shape {list(tensor.shape)}, not {list(expected[key].shape)}"
            raise InputError(problem, _ADVICE, about=path)
        if not torch.isfinite(tensor).all():
            raise InputError(f"{key} is not finite", "The file is damaged.", about=path)
    return tensors


def load_vgg16(encoder: Vgg16Encoder, pretrained: PretrainedWeights) -> None:
    """Load weights of VGG16 for images of three colors into an encoder for C channels.

    VGG16 was trained on colors from 0 to 1, minus their mean, divided by their standard deviation.
    The first convolution takes over both, and the sum of the colors, divided by C, for each
    channel. So an image from 0 to 1 in all channels has the features of a gray photograph, except
    in the outermost row and column of pixels: beyond them, photographs are gray, slices are black.

    Raises:
        InputError: see `read_vgg16`.
    """
    tensors = _read_convolutions(pretrained.path)
    weight, bias = f"{_FEATURES}0.weight", f"{_FEATURES}0.bias"
    channels = encoder.state_dict()[weight].shape[1]
    of_colors = tensors[weight] / torch.tensor(COLOR_SPREADS)[None, :, None, None]
    means = torch.tensor(COLOR_MEANS)[None, :, None, None]
    gray = of_colors.sum(dim=1, keepdim=True)
    tensors[weight] = gray.expand(-1, channels, -1, -1) / channels
    tensors[bias] = tensors[bias] - (of_colors * means).sum(dim=(1, 2, 3))
    encoder.load_state_dict(tensors)
