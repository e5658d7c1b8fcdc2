"""The SAM-type network, one class for all sizes: channel adapter, encoder with LoRA, decoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import peft
from torch import Tensor, nn

from wmh_runtime.types import NetworkShape
from wmh_train.model.adapters import ChannelAdapter, add_lora
from wmh_train.model.decoder import Logits, MultiScaleDecoder
from wmh_train.model.pretrained import PretrainedWeights, load_pretrained
from wmh_train.model.sam import build_image_encoder
from wmh_train.recipe.network import NetworkSettings


class SamNetwork(nn.Module):
    """Segments preprocessed slices.

    Args:
        settings: layers, with an encoder.
        shape: C, K and S.
        pretrained: weights of the encoder. None: random weights, as in all other layers.

    Attributes:
        pretrained_names: of the parameters that stay as in the file of pretrained weights.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        shape: NetworkShape,
        pretrained: PretrainedWeights | None = None,
    ) -> None:
        super().__init__()
        encoder = settings.encoder
        assert encoder is not None
        self.adapter = ChannelAdapter(shape.channels)
        self.encoder = build_image_encoder(encoder, shape.size_px)
        if pretrained is not None:
            load_pretrained(self.encoder, pretrained)
        self.encoder.requires_grad_(encoder.trained)
        if settings.lora is not None:
            self.encoder = add_lora(self.encoder, settings.lora, encoder.depth)
        self.pretrained_names = frozenset(
            name for name, parameter in self.named_parameters() if not parameter.requires_grad
        )
        self.decoder = MultiScaleDecoder(
            encoder.neck_channels,
            settings.decoder,
            channels=shape.channels,
            outputs=shape.outputs,
        )

    @property
    def positions(self) -> nn.Parameter:
        """The position embedding of the encoder."""
        return next(p for name, p in self.encoder.named_parameters() if name.endswith("pos_embed"))

    def in_order(self) -> Iterable[nn.Module]:
        """Yield the parts of the network in the order in which they compute."""
        decoder, encoder = self.decoder, cast("Any", self.encoder)
        if isinstance(encoder, peft.PeftModel):
            encoder = encoder.get_base_model()
        yield from (self.adapter, encoder.patch_embed, encoder.blocks, encoder.neck)
        if decoder.detail is not None:
            yield decoder.detail
        for stage, head in zip(decoder.stages, decoder.heads, strict=True):
            yield from (stage, head)
        yield decoder.fuse

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
