"""Weights that a frozen encoder stands on: MedSAM's, or any in segment-anything's format.

The file is a state dict of the whole of SAM; only `image_encoder.*` is taken. It is read with
`weights_only=True`, so nothing in it is executed, and compared key by key with the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from wmh_runtime.errors import InputError
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.schema import StrictModel

_ENCODER = "image_encoder."
_REST_OF_SAM = ("prompt_encoder.", "mask_decoder.")
_TABLES = ("rel_pos_h", "rel_pos_w")  # of a block: relative positions of rows and columns
_ADVICE = "Give MedSAM's medsam_vit_b.pth, or a checkpoint of segment-anything."


class BaseIdentity(StrictModel):
    """Which weights they are."""

    name: str = Field(description="of the file, for people; the hash decides")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True)
class Base:
    """A file of weights that has been looked through."""

    path: Path
    identity: BaseIdentity

    def read(self) -> dict[str, Tensor]:
        """Return the image encoder's weights by their names within it, float32.

        Raises:
            InputError: the file cannot be read, is something else, or holds values that are not
                finite.
        """
        tensors = {
            key.removeprefix(_ENCODER): tensor.float()
            for key, tensor in _state_of_sam(self.path).items()
            if key.startswith(_ENCODER)
        }
        for key, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise InputError(f"{key} is not finite", "The file is damaged.", about=self.path)
        return tensors


def read_base(path: Path) -> Base:
    """Look through a checkpoint of segment-anything's format; its weights are not kept in memory.

    Raises:
        InputError: it cannot be read, is something else, or holds values that are not finite.
    """
    try:
        found = sha256_file(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot be read ({reason})", _ADVICE, about=path) from error
    base = Base(path, BaseIdentity(name=path.name, sha256=found))
    base.read()
    return base


def _state_of_sam(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no pickle, or a damaged one, raises anything
        raise InputError("is not a file of PyTorch weights", _ADVICE, about=path) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        holds = f" ({', '.join(map(str, list(state)[:3]))}, …)" if isinstance(state, dict) else ""
        problem = f"is not a state dict of tensors alone{holds}"
        raise InputError(problem, f"{_ADVICE} Not the state of a training.", about=path)
    strange = [key for key in state if not key.startswith((_ENCODER, *_REST_OF_SAM))]
    if strange or not any(key.startswith(_ENCODER) for key in state):
        found = f"holds {strange[0]}" if strange else "holds no image_encoder"
        raise InputError(f"{found}, so it is not a model of SAM", _ADVICE, about=path)
    return state


def load_base(encoder: nn.Module, base: Base) -> None:
    """Load weights into an image encoder; positions are resized to its number of tokens.

    The position embedding is resized bicubically and the relative positions of global blocks
    linearly, as segment-anything resizes the latter itself.

    Raises:
        InputError: a weight is missing, unknown, or of another shape, or other blocks attend
            globally.
    """
    tensors, expected = base.read(), encoder.state_dict()
    differing = sorted(tensors.keys() ^ expected.keys())
    if differing:
        what = "lacks" if differing[0] in expected else "holds the unknown"
        raise InputError(
            f"{what} {_ENCODER}{differing[0]} ({len(differing)} keys differ in all)",
            "Give weights of the recipe's encoder.",
            about=base.path,
        )
    blocks = _global_blocks(base, tensors, encoder)
    for key in (f"blocks.{block}.attn.{table}" for block in blocks for table in _TABLES):
        tensors[key] = _resized_table(tensors[key], expected[key].shape)
    tensors["pos_embed"] = _resized_embedding(tensors["pos_embed"], expected["pos_embed"].shape)
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            raise InputError(
                f"{_ENCODER}{key} is {list(tensor.shape)}, the recipe's encoder has"
                f" {list(expected[key].shape)}",
                "Give weights of the recipe's encoder, or a recipe of this one (vit_b, vit_l, …).",
                about=base.path,
            )
    encoder.load_state_dict(tensors)


def _global_blocks(base: Base, tensors: dict[str, Tensor], encoder: nn.Module) -> list[int]:
    """Return which blocks attend across the whole slice; they must be those of the file.

    The file tells them by their tables of relative positions, whose rows are the distances
    between the tokens of a whole slice, 2 n − 1, and not of a window.
    """
    blocks = cast("nn.ModuleList", encoder.blocks)
    wanted = [i for i, block in enumerate(blocks) if block.window_size == 0]
    whole = 2 * tensors["pos_embed"].shape[1] - 1
    rows = [len(tensors[f"blocks.{i}.attn.{_TABLES[0]}"]) for i in range(len(blocks))]
    found = [i for i, count in enumerate(rows) if count == whole]
    if found != wanted:
        raise InputError(
            f"attends globally in blocks {found}, the recipe's encoder in {wanted}",
            "Set network.encoder.global_blocks to those of the weights.",
            about=base.path,
        )
    return wanted


def _resized_embedding(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Resize (1, rows, columns, width) to as many rows and columns; another width stays."""
    if tensor.shape[1:3] == shape[1:3]:
        return tensor
    resized = F.interpolate(tensor.permute(0, 3, 1, 2), size=shape[1:3], mode="bicubic")
    return resized.permute(0, 2, 3, 1)


def _resized_table(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Resize (2 n − 1, width) to as many rows; another width stays."""
    if len(tensor) == shape[0]:
        return tensor
    return F.interpolate(tensor.T[None], size=shape[0], mode="linear")[0].T
