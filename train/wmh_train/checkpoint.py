"""What training leaves: a folder with the trained weights and all that is needed to use them.

    checkpoint/
    ├── checkpoint.json           recipe, split, base, calibration, figures, provenance
    └── model-HASH.safetensors    trained tensors in half precision, BatchNorm's buffers in float32

A frozen encoder's own weights are not in it, only the hash of the base they came from. Weights
are named by their hash, so that new ones never replace those which the facts still speak of: a
checkpoint changes when its facts do, in one rename.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from wmh_runtime.bundle.manifest import Calibration
from wmh_runtime.errors import RecipeError
from wmh_runtime.files.atomic import remove, write_bytes_atomically, write_text_atomically
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.schema import StrictModel, describe_validation_error
from wmh_runtime.tta import Views
from wmh_train.data.split import Split
from wmh_train.model.base import Base, BaseIdentity, read_base
from wmh_train.model.network import WmhNetwork
from wmh_train.recipe.recipe import Recipe

_FACTS = "checkpoint.json"
_WEIGHTS = "model-{}.safetensors"
_HASH_LETTERS = 12  # in the name; the facts hold all
_STORED = torch.float16  # of trained parameters: eleven bits of precision, bfloat16 has eight


class SurfacePoint(StrictModel):
    """One combination that was tried."""

    views: Views
    output: str
    threshold: float
    min_lesion_mm3: float
    mean_dice: float
    mean_lesion_f1: float


class SweptCalibration(Calibration):
    """A calibration, and every combination it was chosen from."""

    surface: list[SurfacePoint]


class ValidationDice(StrictModel):
    """Dice on the validation scans' prepared slices, one view, threshold 0.5."""

    mean: float
    by_site: dict[str, float]


class Provenance(StrictModel):
    """How a checkpoint came to be."""

    data: str = Field(description="what the data set calls itself")
    parameters: int
    trained_parameters: int
    training_slices: int = Field(description="that an epoch may draw")
    details: dict[str, Any] = Field(description="losses, time, versions")


class CheckpointFacts(StrictModel):
    """Everything of a checkpoint but its weights."""

    schema_version: Literal[2] = 2
    recipe: Recipe
    base: BaseIdentity | None = Field(description="of a frozen encoder")
    identity: str = Field(description="hash of recipe, split, base, and content of the scans")
    split: Split
    scan_keys: dict[str, str] = Field(
        description="by name: hash of scan, masks and preprocessing, of training and validation"
    )
    epoch: int = Field(ge=1, description="after which the weights were best on validation")
    finished: bool = Field(description="whether the training came to its end")
    validation: ValidationDice = Field(description="of the weights as stored, once finished")
    weights_sha256: str = ""
    calibration: SweptCalibration | None = None
    provenance: Provenance


def stored_tensors(network: WmhNetwork) -> dict[str, Tensor]:
    """Return what a checkpoint stores of a network, by name, in the precision of storage.

    Trained parameters become float16; buffers stay as they are, BatchNorm's in float32.

    Raises:
        RecipeError: a value does not fit into float16.
    """
    tensors = {
        name: tensor.detach().to("cpu", _STORED if tensor.requires_grad else tensor.dtype)
        for name, tensor in trained_tensors(network).items()
    }
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise RecipeError(
                f"{name} does not fit into half precision", "Lower optimizer.learning_rate."
            )
    return tensors


def stored_bytes(network: WmhNetwork) -> int:
    """Return how many bytes a checkpoint's tensors take; the network may be without values."""
    return sum(
        tensor.numel() * (_STORED if tensor.requires_grad else tensor.dtype).itemsize
        for tensor in trained_tensors(network).values()
    )


def trained_tensors(network: WmhNetwork) -> dict[str, Tensor]:
    """Return trained parameters and buffers by name: all that a frozen base does not know."""
    state = network.state_dict(keep_vars=True)
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    return {name: tensor for name, tensor in state.items() if name not in frozen}


def save_checkpoint(folder: Path, network: WmhNetwork, facts: CheckpointFacts) -> CheckpointFacts:
    """Write a network and its facts, then remove the weights of an earlier checkpoint.

    Args:
        folder: made if needed.
        network: with the trained weights.
        facts: of it; their hash of the weights is filled in.

    Returns:
        The facts as written.
    """
    make_folder(folder)
    tensors = {name: tensor.contiguous() for name, tensor in stored_tensors(network).items()}
    data = save(tensors)
    facts = facts.model_copy(update={"weights_sha256": hashlib.sha256(data).hexdigest()})
    write_bytes_atomically(weights_path(folder, facts), data)
    save_facts(folder, facts)
    for path in folder.glob(_WEIGHTS.format("*")):
        if path != weights_path(folder, facts):
            remove(path)
    return facts


def save_facts(folder: Path, facts: CheckpointFacts) -> None:
    """Write a checkpoint's facts beside the weights they speak of."""
    write_text_atomically(folder / _FACTS, facts.model_dump_json(indent=2) + "\n")


def weights_path(folder: Path, facts: CheckpointFacts) -> Path:
    """Return where a checkpoint's weights are."""
    return folder / _WEIGHTS.format(facts.weights_sha256[:_HASH_LETTERS])


def holds_checkpoint(folder: Path) -> bool:
    """Say whether a folder holds the facts of a checkpoint."""
    return (folder / _FACTS).exists()


def load_facts(folder: Path) -> CheckpointFacts:
    """Read a checkpoint's facts.

    Raises:
        RecipeError: there is no checkpoint, or it is not one of this version.
    """
    path = folder / _FACTS
    try:
        return CheckpointFacts.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            "is not a checkpoint folder", "Give one that wmh-train fit wrote.", about=folder
        ) from error
    except ValidationError as error:
        raise RecipeError(
            f"is not a checkpoint of this version: {describe_validation_error(error)}",
            "Train again with this version.",
            about=path,
        ) from error


def base_file(facts: CheckpointFacts, base: Base | None) -> Path | None:
    """Return the file to load a checkpoint with, of the base that its training began from.

    None where the checkpoint holds its whole encoder and wants none.
    """
    return base.path if base is not None and facts.base is not None else None


def load_network(folder: Path, facts: CheckpointFacts, base: Path | None = None) -> WmhNetwork:
    """Rebuild a checkpoint's network in float32, in evaluation mode. Always the same bits.

    Args:
        folder: of the checkpoint.
        facts: of it.
        base: file of the weights that the frozen encoder was trained on.

    Raises:
        RecipeError: the weights are missing, damaged, or not those of the facts, or the base is
            missing, not wanted, or another one.
        InputError: the base cannot be read.
    """
    network = _rebuild(folder, facts, base)
    path = weights_path(folder, facts)
    try:
        found, tensors = sha256_file(path), load_file(path)
    except (OSError, SafetensorError) as error:
        raise RecipeError(f"cannot be read: {error}", "Train again.", about=path) from error
    if found != facts.weights_sha256:
        raise RecipeError(
            f"has SHA-256 {found[:12]}…, {_FACTS} says {facts.weights_sha256[:12]}…",
            "Copy the whole checkpoint folder again.",
            about=path,
        )
    expected = trained_tensors(network).keys()
    if tensors.keys() != expected:
        differing = sorted(tensors.keys() ^ expected)
        raise RecipeError(
            f"has {len(differing)} tensors that do not fit the recipe, {differing[0]} first",
            "Keep the files of a checkpoint together.",
            about=path,
        )
    network.load_state_dict(tensors, strict=False)  # the rest, frozen, came with the base
    return network.eval()


def _rebuild(folder: Path, facts: CheckpointFacts, base: Path | None) -> WmhNetwork:
    if facts.base is None:
        if base is not None:
            advice = "Leave --base out: the checkpoint holds its whole encoder."
            raise RecipeError("needs no base", advice, about=folder)
        return WmhNetwork(facts.recipe)
    if base is None:
        raise RecipeError(
            f"was trained on {facts.base.name}, which it does not hold",
            f"Give that file: --base …/{facts.base.name}.",
            about=folder,
        )
    given = read_base(base)
    if given.identity.sha256 != facts.base.sha256:
        raise RecipeError(
            f"has SHA-256 {given.identity.sha256[:12]}…, the checkpoint was trained on"
            f" {facts.base.name} with {facts.base.sha256[:12]}…",
            "Give that one.",
            about=base,
        )
    return WmhNetwork(facts.recipe, given)
