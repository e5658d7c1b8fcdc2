"""The network, one class for every size: channel adapter, SAM encoder with LoRA, decoder."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from wmh_train.model.adapters import ChannelAdapter, add_lora
from wmh_train.model.base import Base, load_base
from wmh_train.model.decoder import Logits, MultiScaleDecoder
from wmh_train.model.sam import build_image_encoder
from wmh_train.recipe.recipe import Recipe


class WmhNetwork(nn.Module):
    """Segments prepared slices.

    Args:
        recipe: its make.
        base: weights of the encoder; None initialises it at random, like the rest.
    """

    def __init__(self, recipe: Recipe, base: Base | None = None) -> None:
        super().__init__()
        network, channels, outputs = recipe.network, len(recipe.channels), len(recipe.outputs)
        self.adapter = ChannelAdapter(channels)
        self.encoder = build_image_encoder(network.encoder, recipe.preprocessing.size_px)
        if base is not None:
            load_base(self.encoder, base)
        self.encoder.requires_grad_(network.encoder.trained)
        if network.lora is not None:
            self.encoder = add_lora(self.encoder, network.lora, network.encoder.depth)
        self.decoder = MultiScaleDecoder(
            network.encoder.neck_channels, network.decoder, channels=channels, outputs=outputs
        )

    def forward(self, image: Tensor) -> Logits:
        """Segment prepared slices.

        Args:
            image: [N, C, S, S], float32, as `wmh_runtime.preprocessing.preprocess` leaves it.

        Returns:
            Logits at full resolution and at every scale of the decoder.
        """
        features = self.encoder(self.adapter(image))
        logits: Logits = self.decoder(features, image)
        return logits


@dataclass(frozen=True)
class ParameterCounts:
    """How many parameters there are, by what becomes of them."""

    frozen: int
    encoder: int  # trained ones of the encoder itself; 0 where it is frozen
    lora: int
    adapter: int
    decoder: int

    @property
    def trained(self) -> int:
        """All that training changes."""
        return self.encoder + self.lora + self.adapter + self.decoder

    @property
    def total(self) -> int:
        """All there are."""
        return self.frozen + self.trained

    @property
    def trained_share(self) -> float:
        """Share of the parameters that is trained, in [0, 1]."""
        return self.trained / self.total


def parameter_counts(network: WmhNetwork) -> ParameterCounts:
    """Count a network's parameters."""
    counts = dict.fromkeys(("frozen", "encoder", "lora", "adapter", "decoder"), 0)
    for name, parameter in network.named_parameters():
        part = "lora" if ".lora_" in name else name.split(".")[0]
        counts[part if parameter.requires_grad else "frozen"] += parameter.numel()
    return ParameterCounts(**counts)
