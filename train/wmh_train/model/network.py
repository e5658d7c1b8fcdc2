"""The network, one class for all sizes: channel adapter, SAM encoder with LoRA, decoder."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from wmh_train.model.adapters import ChannelAdapter, add_lora
from wmh_train.model.decoder import Logits, MultiScaleDecoder
from wmh_train.model.pretrained import PretrainedWeights, load_pretrained
from wmh_train.model.sam import build_image_encoder
from wmh_train.recipe.recipe import Recipe


class WmhNetwork(nn.Module):
    """Segments preprocessed slices.

    Args:
        recipe: defines channels, outputs, slice size and layers.
        pretrained: weights of the encoder. None: random weights, as in all other layers.
    """

    def __init__(self, recipe: Recipe, pretrained: PretrainedWeights | None = None) -> None:
        super().__init__()
        network, channels, outputs = recipe.network, len(recipe.channels), len(recipe.outputs)
        self.adapter = ChannelAdapter(channels)
        self.encoder = build_image_encoder(network.encoder, recipe.preprocessing.size_px)
        if pretrained is not None:
            load_pretrained(self.encoder, pretrained)
        self.encoder.requires_grad_(network.encoder.trained)
        if network.lora is not None:
            self.encoder = add_lora(self.encoder, network.lora, network.encoder.depth)
        self.decoder = MultiScaleDecoder(
            network.encoder.neck_channels, network.decoder, channels=channels, outputs=outputs
        )

    def forward(self, image: Tensor) -> Logits:
        """Segment preprocessed slices.

        Args:
            image: float32 [N, C, S, S], from `wmh_runtime.preprocessing.preprocess`.

        Returns:
            Logits at full resolution and at each scale of the decoder.
        """
        features = self.encoder(self.adapter(image))
        logits: Logits = self.decoder(features, image)
        return logits


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
