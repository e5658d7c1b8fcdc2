"""What adapts a SAM encoder to FLAIR: three input channels made of any number, and LoRA within."""

from __future__ import annotations

import re

import peft
from torch import nn

from wmh_runtime.errors import RecipeError
from wmh_train.recipe.recipe import LoraSettings

_ADAPTER_WIDTH = 16
_ENCODER_CHANNELS = 3
_NAME_OF_LAYER = {"qkv": "attn.qkv", "proj": "attn.proj", "lin1": "mlp.lin1", "lin2": "mlp.lin2"}


class ChannelAdapter(nn.Sequential):
    """Turns C image channels, [N, C, S, S], into the three that the encoder expects.

    conv 3×3, BatchNorm, GELU, conv 1×1; the last starts as a plain average of its inputs.
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
    """Put low-rank adapters beside the linear layers of an encoder's blocks and freeze the rest.

    Each adapted layer computes `W x + (alpha / rank) · B A x` with alpha equal to the rank.

    Args:
        encoder: a SAM image encoder; it is changed in place and lives on in what is returned.
        settings: rank by layer, blocks (empty: all), dropout.
        depth: how many blocks the encoder has.

    Raises:
        RecipeError: not exactly the layers that the settings name were adapted.
    """
    blocks = settings.blocks or list(range(depth))
    ranks = {_NAME_OF_LAYER[layer]: rank for layer, rank in settings.ranks.items()}
    # One anchored expression: a bare target "proj" would also adapt patch_embed.proj.
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
            f"LoRA reached {adapted} layers, expected {len(blocks)} blocks × {len(ranks)} layers",
            "Check the recipe's blocks.",
        )
    return model
