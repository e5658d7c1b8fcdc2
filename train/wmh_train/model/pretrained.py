"""Pretrained weights of the encoder: MedSAM's, or any in the format of segment-anything.

The file is a state dict of a whole SAM model; only `image_encoder.*` is used. It is read with
`weights_only=True`, so no code in it is executed, and its keys and shapes are compared with the
encoder.
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
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.schema import StrictModel

_ENCODER = "image_encoder."
_OTHER_PARTS = ("prompt_encoder.", "mask_decoder.")
_TABLES = ("rel_pos_h", "rel_pos_w")  # relative positions of rows and columns, in each block
_ADVICE = "Give MedSAM's medsam_vit_b.pth, or a checkpoint of segment-anything."


class PretrainedIdentity(StrictModel):
    """Identifies a file of pretrained weights."""

    name: str = Field(description="file name, for information; the hash decides")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True)
class PretrainedWeights:
    """A checked file of pretrained weights. The weights themselves stay on disk."""

    path: Path
    identity: PretrainedIdentity

    def read(self) -> dict[str, Tensor]:
        """Return the weights of SAM's image encoder by their names within it, float32.

        Raises:
            InputError: the file cannot be read, has another format, or contains values that are not
                finite.
        """
        tensors = {
            key.removeprefix(_ENCODER): tensor.float()
            for key, tensor in _read_sam_state(self.path).items()
            if key.startswith(_ENCODER)
        }
        for key, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise InputError(f"{key} is not finite", "The file is damaged.", about=self.path)
        return tensors


def read_pretrained(path: Path) -> PretrainedWeights:
    """Check a file of SAM's weights and hash it. The weights are not kept in memory.

    Raises:
        InputError: the file cannot be read, has another format, or contains values that are not
            finite.
    """
    pretrained = identify_pretrained(path, _ADVICE)
    pretrained.read()
    return pretrained


def identify_pretrained(path: Path, advice: str) -> PretrainedWeights:
    """Hash a file of pretrained weights.

    Args:
        path: the file.
        advice: what to do if it cannot be read.

    Raises:
        InputError: it cannot be read.
    """
    try:
        sha256 = sha256_file(path)
    except OSError as error:
        reason = reason_of(error)
        raise InputError(f"cannot be read ({reason})", advice, about=path) from error
    return PretrainedWeights(path, PretrainedIdentity(name=path.name, sha256=sha256))


def read_state(path: Path, advice: str) -> dict[str, Tensor]:
    """Read the tensors of a state dict, without executing code in the file.

    Args:
        path: the file.
        advice: which file to give instead.

    Raises:
        InputError: it is not a state dict of tensors.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types for a damaged or other file
        raise InputError("is not a file of PyTorch weights", advice, about=path) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        keys = f" ({', '.join(map(str, list(state)[:3]))}, …)" if isinstance(state, dict) else ""
        raise InputError(
            f"is not a state dict that contains only tensors{keys}",
            f"{advice} The saved state of a training does not work.",
            about=path,
        )
    return state


def _read_sam_state(path: Path) -> dict[str, Tensor]:
    state = read_state(path, _ADVICE)
    unknown = [key for key in state if not key.startswith((_ENCODER, *_OTHER_PARTS))]
    if unknown or not any(key.startswith(_ENCODER) for key in state):
        reason = f"contains {unknown[0]}" if unknown else "contains no image_encoder"
        raise InputError(f"{reason}, so it is not a SAM model", _ADVICE, about=path)
    return state


def load_pretrained(encoder: nn.Module, pretrained: PretrainedWeights) -> None:
    """Load pretrained weights into an image encoder and resize positions to its token grid.

    The position embedding is resized bicubically. The relative positions of global blocks are
    resized linearly, as in segment-anything.

    Raises:
        InputError: a weight is missing, unknown, or has another shape, or the global attention
            blocks differ.
    """
    tensors, expected = pretrained.read(), encoder.state_dict()
    differing = sorted(tensors.keys() ^ expected.keys())
    if differing:
        problem = "lacks" if differing[0] in expected else "has the unknown key"
        raise InputError(
            f"{problem} {_ENCODER}{differing[0]} ({len(differing)} keys differ in total)",
            "Give weights of the recipe's encoder.",
            about=pretrained.path,
        )
    blocks = _global_blocks(pretrained, tensors, encoder)
    for key in (f"blocks.{block}.attn.{table}" for block in blocks for table in _TABLES):
        tensors[key] = _resize_table(tensors[key], expected[key].shape)
    tensors["pos_embed"] = _resize_embedding(tensors["pos_embed"], expected["pos_embed"].shape)
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            raise InputError(
                f"{_ENCODER}{key} has shape {list(tensor.shape)}, the recipe's encoder has"
                f" {list(expected[key].shape)}",
                "Give weights of the recipe's encoder, or use the recipe of this size (vit_b, …).",
                about=pretrained.path,
            )
    encoder.load_state_dict(tensors)


def _global_blocks(
    pretrained: PretrainedWeights, tensors: dict[str, Tensor], encoder: nn.Module
) -> list[int]:
    """Return the blocks with global attention; InputError if the file has other ones.

    In the file, the table of relative positions of a global block has 2 n − 1 rows, n the number
    of tokens along a side of the slice. The table of a windowed block is smaller.
    """
    blocks = cast("nn.ModuleList", encoder.blocks)
    expected = [i for i, block in enumerate(blocks) if block.window_size == 0]
    global_rows = 2 * tensors["pos_embed"].shape[1] - 1
    rows = [len(tensors[f"blocks.{i}.attn.{_TABLES[0]}"]) for i in range(len(blocks))]
    stored = [i for i, count in enumerate(rows) if count == global_rows]
    if stored != expected:
        raise InputError(
            f"has global attention in blocks {stored}, the recipe's encoder in {expected}",
            "Set network.encoder.global_blocks to the blocks of the weights.",
            about=pretrained.path,
        )
    return expected


def _resize_embedding(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Resize (1, rows, columns, width) to the rows and columns of `shape`; the width stays."""
    if tensor.shape[1:3] == shape[1:3]:
        return tensor
    resized = F.interpolate(tensor.permute(0, 3, 1, 2), size=shape[1:3], mode="bicubic")
    return resized.permute(0, 2, 3, 1)


def _resize_table(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Resize (2 n − 1, width) to the rows of `shape`; the width stays."""
    if len(tensor) == shape[0]:
        return tensor
    return F.interpolate(tensor.T[None], size=shape[0], mode="linear")[0].T
