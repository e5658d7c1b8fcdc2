"""What a layer of a network is, so that the first ones can be frozen.

Layers are counted from the input, in the order in which they compute. A layer is a convolution with
the normalization after it. In a SAM-type encoder, the patch embedding with its positions is one
layer, and each transformer block is one, with its adapters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from wmh_runtime.errors import RecipeError
from wmh_train.model.network import WmhNetwork
from wmh_train.model.sam import modeling
from wmh_train.model.sam_network import SamNetwork

_STARTS_LAYER = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@dataclass
class Layer:
    """A layer of a network."""

    name: str  # of its first module
    parameters: list[nn.Parameter]

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters)

    @property
    def trained_size(self) -> int:
        """Number of parameters that a training changes."""
        return sum(one.numel() for one in self.parameters if one.requires_grad)


def network_layers(network: WmhNetwork) -> list[Layer]:
    """Return the layers of a network, from input to output. Each parameter is in exactly one."""
    names = {module: name for name, module in network.named_modules()}
    sam = modeling().image_encoder
    whole = (sam.Block, sam.PatchEmbed)
    layers: list[Layer] = []
    for part in network.in_order():
        for module in _modules(part, whole):
            own = list(module.parameters())
            if isinstance(module, (*_STARTS_LAYER, *whole)):
                layers.append(Layer(names[module], own))
            elif own:
                layers[-1].parameters += own
    if isinstance(network, SamNetwork):
        embedding = next(layer for layer in layers if layer.name.endswith("patch_embed"))
        embedding.parameters.append(network.positions)
    return layers


def freeze_layers(network: WmhNetwork, count: int) -> None:
    """Freeze the first layers of a network, whatever their weights are.

    Their BatchNorm must use fixed statistics in training: see `fix_frozen_batch_norm`.

    Raises:
        RecipeError: nothing is left to train.
    """
    layers = network_layers(network)
    for layer in layers[:count]:
        for parameter in layer.parameters:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise RecipeError(
            f"{count} frozen layers leave nothing to train: the network has {len(layers)}",
            "Reduce optimizer.frozen_layers.",
        )


def _modules(part: nn.Module, whole: tuple[type[nn.Module], ...]) -> Iterator[nn.Module]:
    """Yield the smallest modules of a part, and some kinds of modules as a whole."""
    children = list(part.children())
    if isinstance(part, whole) or not children:
        yield part
        return
    for child in children:
        yield from _modules(child, whole)
