"""Adapt a SAM encoder to FLAIR: a channel adapter before it and LoRA inside it."""

from __future__ import annotations

import re

import peft
from torch import nn

from wmh_runtime.errors import RecipeError
from wmh_train.recipe.network import LoraSettings

_ADAPTER_WIDTH = 16
_ENCODER_CHANNELS = 3
_LAYER_NAMES = {"qkv": "attn.qkv", "proj": "attn.proj", "lin1": "mlp.lin1", "lin2": "mlp.lin2"}


class ChannelAdapter(nn.Sequential):
    """Maps C image channels, [N, C, S, S], to the three channels that the encoder expects.

    Conv 3×3, BatchNorm, GELU, conv 1×1. The last layer is initialized to average its inputs.
    """

    def __init__(self, channels: int) -> None:
        average = nn.Conv2d(_ADAPTER_WIDTH, _ENCODER_CHANNELS, kernel_size=1)
        nn.init.constant_(average.weight, 1 / _ADAPTER_WIDTH)
        assert average.bias is not None
        nn.init.zeros_(average.bias)
        super().__init__(
            nn.Conv2d(channels, _ADAPTER_WIDTH, kernel_size=3, padding=1),
            nn.BatchNorm2d(_ADAPTER_WIDTH),
            nn.GELU(),
            average,
        )


def add_lora(encoder: nn.Module, settings: LoraSettings, depth: int) -> peft.PeftModel:
    """Add low-rank adapters to linear layers in an encoder's blocks and freeze everything else.

    An adapted layer computes `W x + (alpha / rank) · B A x`, with alpha equal to the rank.

    Args:
        encoder: SAM image encoder. It is changed in place and becomes part of the returned model.
        settings: rank of each layer, blocks (empty: all), dropout.
        depth: number of blocks in the encoder.

    Raises:
        RecipeError: some layers of the settings do not exist in the encoder.
    """
    blocks = settings.blocks or list(range(depth))
    ranks = {_LAYER_NAMES[layer]: rank for layer, rank in settings.ranks.items()}
    # peft matches this regular expression against whole names. The plain target "proj" would
    # also adapt patch_embed.proj.
    block, layer = "|".join(map(str, blocks)), "|".join(map(re.escape, ranks))
    model = peft.get_peft_model(
        encoder,
        peft.LoraConfig(
            target_modules=rf"blocks\.({block})\.({layer})",
            rank_pattern=ranks,
            alpha_pattern=ranks,
            lora_dropout=settings.dropout,
        ),
    )
    adapted = sum(isinstance(module, peft.tuners.lora.LoraLayer) for module in model.modules())
    if adapted != len(blocks) * len(ranks):
        raise RecipeError(
            f"LoRA adapted {adapted} layers, expected {len(blocks)} blocks × {len(ranks)} layers",
            "Check network.lora.blocks in the recipe.",
        )
    return model
