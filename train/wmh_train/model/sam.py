"""segment-anything's image encoder, imported without the rest of the package.

`import segment_anything` also imports torchvision, which the encoder does not need and which may
not be installed. The subpackage `modeling` needs only torch. So only this subpackage is imported,
under a private name.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache, partial
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wmh_runtime.errors import RecipeError
from wmh_runtime.text import install_advice
from wmh_train.recipe.network import EncoderSettings

_PRIVATE_NAME = "_wmh_segment_anything_modeling"
_INPUT_CHANNELS = 3  # the encoder expects RGB; the channel adapter makes three channels
_LAYER_NORM_EPSILON = 1e-6  # value in segment-anything's build function


def build_image_encoder(settings: EncoderSettings, size_px: int) -> nn.Module:
    """Build a SAM image encoder with random weights.

    Args:
        settings: width, depth, patches and windows.
        size_px: S of the input [N, 3, S, S].

    Returns:
        A module whose output is [N, neck_channels, S / patch_px, S / patch_px].

    Raises:
        RecipeError: `size_px` is not a multiple of the patch size.
    """
    if size_px % settings.patch_px:
        raise RecipeError(
            f"size_px {size_px} is not a multiple of patch_px {settings.patch_px}",
            "Change one of them.",
        )
    encoder = _encoder_class()(
        img_size=size_px,
        patch_size=settings.patch_px,
        in_chans=_INPUT_CHANNELS,
        embed_dim=settings.width,
        depth=settings.depth,
        num_heads=settings.heads,
        out_chans=settings.neck_channels,
        norm_layer=partial(nn.LayerNorm, eps=_LAYER_NORM_EPSILON),
        use_rel_pos=True,
        window_size=settings.window_tokens,
        global_attn_indexes=settings.global_blocks,
    )
    encoder.gradient_checkpointing = settings.gradient_checkpointing
    return cast(nn.Module, encoder)


@cache
def _encoder_class() -> Any:
    """Return the class of segment-anything's encoder, extended by gradient checkpointing."""

    class ImageEncoder(modeling().image_encoder.ImageEncoderViT):  # type: ignore[misc]
        gradient_checkpointing = False

        def forward(self, image: Tensor) -> Tensor:
            recompute = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
            tokens = self.patch_embed(image) + self.pos_embed  # (N, rows, columns, width)
            for block in self.blocks:
                tokens = (
                    checkpoint(block, tokens, use_reentrant=False) if recompute else block(tokens)
                )
            features: Tensor = self.neck(tokens.permute(0, 3, 1, 2))
            return features

    return ImageEncoder


@cache
def modeling() -> ModuleType:
    """Return segment-anything's `modeling` package.

    Raises:
        RecipeError: it is not installed.
    """
    package = importlib.util.find_spec("segment_anything")
    if package is None or package.origin is None:
        raise RecipeError("segment-anything is not installed", install_advice("train"))
    folder = package.origin.removesuffix("__init__.py") + "modeling"
    spec = importlib.util.spec_from_file_location(
        _PRIVATE_NAME, f"{folder}/__init__.py", submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_PRIVATE_NAME] = module
    spec.loader.exec_module(module)
    return module
