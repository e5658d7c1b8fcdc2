"""Weights that a frozen encoder stands on: MedSAM's, or any in segment-anything's format.

The file is a state dict of the whole of SAM; only `image_encoder.*` is taken. It is read with
`weights_only=True`, so nothing in it is executed, and compared key by key with the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from wmh_runtime.bundle import sha256_of
from wmh_runtime.errors import InputError

_ENCODER = "image_encoder."
_REST_OF_SAM = ("prompt_encoder.", "mask_decoder.")
_RESIZED = ("rel_pos_h", "rel_pos_w")  # besides pos_embed, and in global blocks only


class BaseIdentity(BaseModel):
    """Which weights they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="of the file, for people; the hash decides")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True)
class Base:
    """An image encoder's weights and where they come from."""

    path: Path
    identity: BaseIdentity
    tensors: dict[str, Tensor]  # by their names within the encoder, float32


def read_base(path: Path) -> Base:
    """Read a checkpoint of segment-anything's format.

    Raises:
        InputError: it cannot be read, is something else, or holds values that are not finite.
    """
    advice = "Give MedSAM's medsam_vit_b.pth, or a checkpoint of segment-anything."
    try:
        stream = path.open("rb")
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot be read ({reason})", advice, about=path) from error
    with stream:
        try:
            state = torch.load(stream, map_location="cpu", weights_only=True)
        except Exception as error:  # what is no pickle, or a damaged one, raises anything
            raise InputError("is not a file of PyTorch weights", advice, about=path) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        holds = f" ({', '.join(map(str, list(state)[:3]))}, …)" if isinstance(state, dict) else ""
        problem = f"is not a state dict of tensors alone{holds}"
        raise InputError(problem, f"{advice} Not the state of a training.", about=path)
    strange = [k for k in state if not k.startswith((_ENCODER, *_REST_OF_SAM))]
    if strange or not any(k.startswith(_ENCODER) for k in state):
        found = f"holds {strange[0]}" if strange else "holds no image_encoder"
        raise InputError(f"{found}, so it is not a model of SAM", advice, about=path)
    tensors = {
        key.removeprefix(_ENCODER): tensor.float()
        for key, tensor in state.items()
        if key.startswith(_ENCODER)
    }
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{key} is not finite", "The file is damaged.", about=path)
    return Base(path, BaseIdentity(name=path.name, sha256=sha256_of(path)), tensors)


def load_base(encoder: nn.Module, base: Base) -> None:
    """Load weights into an image encoder; positions are resized to its number of tokens.

    The position embedding is resized bicubically and the relative positions of global blocks
    linearly, as segment-anything resizes the latter itself.

    Raises:
        InputError: a weight is missing, unknown, or of another shape.
    """
    expected = encoder.state_dict()
    differing = sorted(base.tensors.keys() ^ expected.keys())
    if differing:
        what = "lacks" if differing[0] in expected else "holds the unknown"
        raise InputError(
            f"{what} {_ENCODER}{differing[0]} ({len(differing)} keys differ in all)",
            "Give weights of the recipe's encoder.",
            about=base.path,
        )
    fitted = {key: _resized(key, base.tensors[key], expected[key].shape) for key in expected}
    for key, tensor in fitted.items():
        if tensor.shape != expected[key].shape:
            raise InputError(
                f"{_ENCODER}{key} is {list(tensor.shape)}, the recipe's encoder has"
                f" {list(expected[key].shape)}",
                "Give weights of the recipe's encoder, or a recipe of this one (vit_b, vit_l, …).",
                about=base.path,
            )
    encoder.load_state_dict(fitted)


def _resized(key: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    """Resize positions, (1, rows, columns, width) or (2 n − 1, width); leave the rest."""
    if tensor.shape == shape or tensor.dim() != len(shape) or tensor.shape[-1] != shape[-1]:
        return tensor
    if key == "pos_embed":
        resized = F.interpolate(tensor.permute(0, 3, 1, 2), size=shape[1:3], mode="bicubic")
        return resized.permute(0, 2, 3, 1)
    if key.endswith(_RESIZED):
        resized = F.interpolate(tensor.T[None], size=shape[0], mode="linear")
        return resized[0].T
    return tensor
