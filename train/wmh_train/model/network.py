"""Build the network of a recipe, and count its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from wmh_train.model.convolutional.convolutional_network import ConvolutionalNetwork
from wmh_train.model.convolutional.monai_unet import MonaiUNet
from wmh_train.model.convolutional.unet import UNet
from wmh_train.model.convolutional.vgg16_unet import Vgg16UNet
from wmh_train.model.pretrained import PretrainedWeights
from wmh_train.model.sam_network import SamNetwork
from wmh_train.recipe.recipe import Recipe

WmhNetwork: TypeAlias = SamNetwork | ConvolutionalNetwork  # maps slices [N, C, S, S] to `Logits`


def build_network(recipe: Recipe, pretrained: PretrainedWeights | None = None) -> WmhNetwork:
    """Build the network of a recipe.

    Args:
        recipe: defines channels, outputs, slice size and layers.
        pretrained: weights of a SAM-type encoder or of VGG16. None: random weights, as in all
            other layers.

    Raises:
        InputError: the pretrained weights do not fit.
    """
    shape, network = recipe.network_shape, recipe.network
    if network.unet is not None:
        return UNet(network.unet, shape)
    if network.monai_unet is not None:
        return MonaiUNet(network.monai_unet, shape)
    if network.vgg16_unet is not None:
        return Vgg16UNet(network.vgg16_unet, shape, pretrained)
    return SamNetwork(network, shape, pretrained)


@dataclass(frozen=True)
class ParameterCounts:
    """Number of parameters, frozen and trained, by part of the network."""

    frozen: int
    encoder: int  # trained parameters of the encoder itself; 0 if it is frozen
    lora: int
    adapter: int
    decoder: int

    @property
    def trained(self) -> int:
        """Number of trained parameters."""
        return self.encoder + self.lora + self.adapter + self.decoder

    @property
    def total(self) -> int:
        """Number of all parameters."""
        return self.frozen + self.trained

    @property
    def trained_share(self) -> float:
        """Fraction of the parameters that are trained, in [0, 1]."""
        return self.trained / self.total


def parameter_counts(network: WmhNetwork) -> ParameterCounts:
    """Count the parameters of a network."""
    counts = dict.fromkeys(("frozen", "encoder", "lora", "adapter", "decoder"), 0)
    for name, parameter in network.named_parameters():
        part = "lora" if ".lora_" in name else name.split(".")[0]
        counts[part if parameter.requires_grad else "frozen"] += parameter.numel()
    return ParameterCounts(**counts)
