"""The network, one class for every size: channel adapter, SAM encoder with LoRA, decoder."""

from __future__ import annotations

from torch import Tensor, nn

from wmh_train.adapters import ChannelAdapter, add_lora
from wmh_train.decoder import Logits, MultiScaleDecoder
from wmh_train.recipe import Recipe
from wmh_train.sam import build_image_encoder


class WmhNetwork(nn.Module):
    """Segments prepared slices. Randomly initialised; weights come from training or a file."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        network, channels, outputs = recipe.network, len(recipe.channels), len(recipe.outputs)
        self.adapter = ChannelAdapter(channels)
        self.encoder = build_image_encoder(network.encoder, recipe.preparation.size_px)
        self.encoder.requires_grad_(network.encoder.trained)
        if network.lora is not None:
            self.encoder = add_lora(self.encoder, network.lora, network.encoder.depth)
        self.decoder = MultiScaleDecoder(
            network.encoder.neck_channels, network.decoder, channels=channels, outputs=outputs
        )

    def forward(self, image: Tensor) -> Logits:
        """Segment prepared slices.

        Args:
            image: [N, C, S, S], float32, as `wmh_runtime.prepare` leaves it.

        Returns:
            Logits at full resolution and at every scale of the decoder.
        """
        features = self.encoder(self.adapter(image))
        logits: Logits = self.decoder(features, image)
        return logits


def parameter_counts(network: nn.Module) -> tuple[int, int]:
    """Return how many parameters are trained and how many there are."""
    sizes = [(p.numel(), p.requires_grad) for p in network.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes)
