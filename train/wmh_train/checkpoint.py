"""What training leaves: a folder with the weights and all that is needed to use them.

checkpoint/
├── checkpoint.json       recipe, split, calibration, provenance
└── model.safetensors     trained tensors and BatchNorm buffers, float32
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from wmh_runtime.atomic import atomic_path, write_text_atomically
from wmh_runtime.bundle import Output
from wmh_runtime.errors import RecipeError
from wmh_runtime.folders import make_folder, make_writable_folder
from wmh_train.network import WmhNetwork
from wmh_train.recipe import Recipe

_FACTS = "checkpoint.json"
_WEIGHTS = "model.safetensors"


class Calibration(BaseModel):
    """The choice of threshold and minimum size, and every combination it was chosen from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    outputs: list[Output]
    scans: int = Field(ge=1, description="validation scans it was chosen on")
    mean_dice: list[float] = Field(description="of the chosen combination, for each output")
    surface: dict[str, list[tuple[float, float, float]]] = Field(
        description="by output: threshold, minimum size in mm³, mean Dice"
    )


class Provenance(BaseModel):
    """How a checkpoint came to be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = Field(description="what the data set calls itself")
    parameters: int
    trained_parameters: int
    training_slices: int = Field(description="learned from at least once")
    details: dict[str, Any] = Field(description="losses, time, versions")


class CheckpointFacts(BaseModel):
    """Everything of a checkpoint but its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    recipe: Recipe
    training_scans: list[str]
    validation_scans: list[str]
    calibration: Calibration | None = None
    provenance: Provenance


def require_no_checkpoint(folder: Path) -> None:
    """Refuse to train over an earlier checkpoint, and find out before whether one can be written.

    Raises:
        RecipeError: there is one.
        InputError: the folder cannot be written to.
    """
    if (folder / _FACTS).exists() or (folder / _WEIGHTS).exists():
        raise RecipeError("holds a checkpoint already", "Choose another folder.", about=folder)
    make_writable_folder(folder)


def save_checkpoint(folder: Path, network: WmhNetwork, facts: CheckpointFacts) -> None:
    """Write a checkpoint; the facts come last, so they never describe weights not there."""
    make_folder(folder)
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    with atomic_path(folder / _WEIGHTS) as path:
        save_file(tensors, path)
    save_facts(folder, facts)


def save_facts(folder: Path, facts: CheckpointFacts) -> None:
    """Write a checkpoint's facts beside its weights."""
    write_text_atomically(folder / _FACTS, facts.model_dump_json(indent=2) + "\n")


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
            f"is not a checkpoint of this version: {error.errors()[0]['msg']}",
            "Train again with this version.",
            about=path,
        ) from error


def load_network(folder: Path, facts: CheckpointFacts) -> WmhNetwork:
    """Rebuild a checkpoint's network, in evaluation mode.

    Raises:
        RecipeError: the weights are missing, damaged, or not those of the recipe.
    """
    network = WmhNetwork(facts.recipe)
    path = folder / _WEIGHTS
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RecipeError(f"cannot be read: {error}", "Train again.", about=path) from error
    expected = network.state_dict().keys()
    if tensors.keys() != expected:
        differing = sorted(tensors.keys() ^ expected)
        raise RecipeError(
            f"has {len(differing)} tensors that do not fit the recipe, {differing[0]} first",
            "Keep the files of a checkpoint together.",
            about=path,
        )
    network.load_state_dict(tensors)
    return network.eval()
