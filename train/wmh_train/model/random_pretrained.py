"""Random weights in MedSAM's format, to try all commands without the real weights.

They are scaled so that the content of a patch passes through twelve blocks and the neck. So a
decoder can be trained on the features, and its masks depend on every block.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from wmh_runtime.files.atomic import atomic_path
from wmh_train.model.sam import build_image_encoder, modeling
from wmh_train.recipe.network import EncoderSettings

_SAM_SIZE_PX = 1024  # input size of SAM
_POSITION_SPREAD = 0.02  # segment-anything initializes positions to zero, which would hide errors
_BRANCH_GAIN = 0.3  # scales the outputs of attention and MLP, so that they do not dominate a token
_NECK_SPREAD = 0.005  # noise on the identity kernel of the neck's 3 × 3 convolution


def write_random_pretrained(path: Path, settings: EncoderSettings, seed: int) -> None:
    """Write the state dict of a whole SAM model with random weights, 375 MB for vit_b.

    Args:
        path: `.pth` file to write.
        settings: settings of the image encoder.
        seed: random seed.
    """
    torch.manual_seed(seed)
    encoder = build_image_encoder(settings, _SAM_SIZE_PX)
    _scale_weights(encoder)
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


def _scale_weights(encoder: nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "pos" in name.rsplit(".", 1)[-1]:
                nn.init.normal_(parameter, std=_POSITION_SPREAD)
            elif name.endswith(("attn.proj.weight", "mlp.lin2.weight")):
                parameter.mul_(_BRANCH_GAIN)
            elif name in ("patch_embed.proj.weight", "neck.0.weight"):
                # Orthogonal, so lengths and angles stay. Computed in float64 and rounded, so that
                # the result is the same on all machines and for any number of threads.
                orthogonal = torch.empty_like(parameter, dtype=torch.float64)
                parameter.copy_(nn.init.orthogonal_(orthogonal))
            elif name == "neck.2.weight":
                nn.init.dirac_(parameter)
                parameter.add_(torch.randn_like(parameter), alpha=_NECK_SPREAD)
