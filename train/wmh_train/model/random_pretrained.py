"""Weights in MedSAM's format that know nothing: to try everything without the real ones.

They are random, but so that what a patch shows gets through twelve blocks and the neck: a decoder
can then be trained on them, and its masks depend on every block.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from wmh_runtime.files.atomic import atomic_path
from wmh_train.model.sam import build_image_encoder, modeling
from wmh_train.recipe.recipe import EncoderSettings

_SAM_SIZE_PX = 1024  # the slice side that SAM was made for
_POSITION_SPREAD = 0.02  # segment-anything starts positions at zero, which would hide mistakes
_BRANCH_GAIN = 0.3  # of what attention and MLP add to a token, so that they do not drown it
_NEIGHBOUR_SPREAD = 0.005  # of the neck's 3 × 3 convolution, beside passing each token on


def write_random_base(path: Path, settings: EncoderSettings, seed: int) -> None:
    """Write the state dict of a whole SAM with random weights, 375 MB for vit_b.

    Args:
        path: of the `.pth` file.
        settings: of its image encoder.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    encoder = build_image_encoder(settings, _SAM_SIZE_PX)
    _let_patches_through(encoder)
    tokens, width = _SAM_SIZE_PX // settings.patch_px, settings.neck_channels
    sam = modeling().Sam(
        image_encoder=encoder,
        prompt_encoder=modeling().PromptEncoder(
            embed_dim=width,
            image_embedding_size=(tokens, tokens),
            input_image_size=(_SAM_SIZE_PX, _SAM_SIZE_PX),
            mask_in_chans=16,
        ),
        mask_decoder=modeling().MaskDecoder(
            transformer_dim=width,
            transformer=modeling().TwoWayTransformer(
                depth=2, embedding_dim=width, num_heads=8, mlp_dim=2048
            ),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=width,
        ),
    )
    with atomic_path(path) as partial:
        torch.save(sam.state_dict(), partial)


def _let_patches_through(encoder: nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "pos" in name.rsplit(".", 1)[-1]:
                nn.init.normal_(parameter, std=_POSITION_SPREAD)
            elif name.endswith(("attn.proj.weight", "mlp.lin2.weight")):
                parameter.mul_(_BRANCH_GAIN)
            elif name in ("patch_embed.proj.weight", "neck.0.weight"):
                # Flattened to rows: lengths and angles stay. Rounded from double, so that neither
                # the machine nor the number of its threads matters.
                exact = torch.empty_like(parameter, dtype=torch.float64)
                parameter.copy_(nn.init.orthogonal_(exact))
            elif name == "neck.2.weight":
                nn.init.dirac_(parameter)
                parameter.add_(torch.randn_like(parameter), alpha=_NEIGHBOUR_SPREAD)
