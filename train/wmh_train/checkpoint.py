"""Checkpoints: a folder with trained weights and the metadata to use them.

    checkpoint/
    ├── checkpoint.json           recipe, split, pretrained weights, calibration, scores, provenance
    └── model-HASH.safetensors    trained tensors in float16, BatchNorm statistics in float32

The checkpoint does not contain the weights of a frozen encoder, only the hash of the file with its
pretrained weights. The name of the weights file contains its hash, so new weights never overwrite
the ones that the metadata refers to. Replacing checkpoint.json switches to the new weights in one
atomic step.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from wmh_runtime.bundle.calibration import Calibration
from wmh_runtime.bundle.training_record import Teacher
from wmh_runtime.errors import RecipeError
from wmh_runtime.files.atomic import remove, write_bytes_atomically, write_text_atomically
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.schema import StrictModel, describe_validation_error
from wmh_runtime.tta import Views
from wmh_train.data.split import Split
from wmh_train.model.network import WmhNetwork, build_network
from wmh_train.model.pretrained import PretrainedIdentity, PretrainedWeights, read_pretrained
from wmh_train.recipe.recipe import Recipe

METADATA_NAME = "checkpoint.json"
_WEIGHTS = "model-{}.safetensors"
_HASH_LETTERS = 12  # in the file name; the metadata contains the whole hash
_STORED_DTYPE = torch.float16  # more precise than bfloat16: 11 bits instead of 8


class SweepPoint(StrictModel):
    """Scores of one combination of threshold and minimum lesion size."""

    views: Views
    output: str
    threshold: float
    min_lesion_mm3: float
    mean_dice: float
    mean_lesion_f1: float


class CalibrationWithSweep(Calibration):
    """A calibration with the scores of all combinations in the threshold sweep."""

    threshold_sweep: list[SweepPoint]


class ValidationDice(StrictModel):
    """Dice on the preprocessed slices of the validation scans, with one view and threshold 0.5."""

    mean: float
    by_site: dict[str, float]
    iou: float | None = Field(default=None, description="likewise, the intersection over union")


class StageProvenance(StrictModel):
    """What a stage of a training did."""

    name: str
    data: str = Field(description="what its masks are from")
    training_scans: int
    validation_scans: int
    frozen_layers: int
    trained_parameters: int
    epoch: int = Field(description="its best one, from 1; the next stage starts from it")
    validation: ValidationDice


class Provenance(StrictModel):
    """Origin of a checkpoint."""

    data: str = Field(description="name of the data set")
    parameters: int
    trained_parameters: int
    training_slices: int = Field(description="number of slices of the training scans")
    training_sites: dict[str, int] = Field(default={}, description="number of scans by site")
    validation_sites: dict[str, int] = Field(default={}, description="number of scans by site")
    stages: list[StageProvenance] = Field(default=[], description="of this training, in order")
    learned_images: list[str] = Field(
        default=[],
        description="SHA-256 of the images of all training scans, also of the trainings before it",
    )
    new_heads: int = Field(default=0, description="synthetic heads that were new in each epoch")
    teacher: Teacher | None = Field(default=None, description="whose probabilities were learned")
    details: dict[str, Any] = Field(description="loss, time, versions")


class CheckpointMetadata(StrictModel):
    """A checkpoint without its weights."""

    schema_version: Literal[3] = 3
    recipe: Recipe
    pretrained: PretrainedIdentity | None = Field(description="weights of a frozen encoder")
    identity: str = Field(
        description="hash of recipe, split, pretrained weights, and content of the scans"
    )
    split: Split
    scan_keys: dict[str, str] = Field(
        description="training and validation scans by name: hash of scan, masks and preprocessing"
    )
    epoch: int = Field(ge=1, description="epoch with the best validation Dice, from 1")
    finished: bool = Field(description="whether the training is complete")
    validation: ValidationDice = Field(
        description="of the stored float16 weights if finished, otherwise of the float32 weights"
    )
    weights_sha256: str = ""
    calibration: CalibrationWithSweep | None = None
    provenance: Provenance


def stored_tensors(network: WmhNetwork) -> dict[str, Tensor]:
    """Return the tensors that a checkpoint stores, by name.

    Trained parameters are converted to float16. Buffers keep their dtype, BatchNorm statistics
    float32.

    Raises:
        RecipeError: a value does not fit into float16.
    """
    tensors = {
        name: tensor.detach().to("cpu", _stored_dtype(tensor))
        for name, tensor in own_tensors(network).items()
    }
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise RecipeError(
                f"{name} does not fit into half precision", "Reduce optimizer.learning_rate."
            )
    return tensors


def stored_bytes(network: WmhNetwork) -> int:
    """Return the size of a checkpoint's tensors in bytes. The network may be on the meta device."""
    return sum(
        tensor.numel() * _stored_dtype(tensor).itemsize for tensor in own_tensors(network).values()
    )


def own_tensors(network: WmhNetwork) -> dict[str, Tensor]:
    """Return parameters and buffers by name: all except the weights of a frozen encoder."""
    state = network.state_dict(keep_vars=True)
    return {name: one for name, one in state.items() if name not in network.pretrained_names}


def _stored_dtype(tensor: Tensor) -> torch.dtype:
    return _STORED_DTYPE if isinstance(tensor, nn.Parameter) else tensor.dtype


def save_checkpoint(
    folder: Path, network: WmhNetwork, metadata: CheckpointMetadata
) -> CheckpointMetadata:
    """Write weights and metadata, then remove the weights of an earlier checkpoint.

    Args:
        folder: checkpoint folder, created if missing.
        network: network with the trained weights.
        metadata: metadata of the checkpoint; this function sets `weights_sha256`.

    Returns:
        The written metadata.
    """
    make_folder(folder)
    tensors = {name: tensor.contiguous() for name, tensor in stored_tensors(network).items()}
    data = save(tensors)
    metadata = metadata.model_copy(update={"weights_sha256": hashlib.sha256(data).hexdigest()})
    write_bytes_atomically(weights_path(folder, metadata), data)
    save_metadata(folder, metadata)
    for path in folder.glob(_WEIGHTS.format("*")):
        if path != weights_path(folder, metadata):
            remove(path)
    return metadata


def save_metadata(folder: Path, metadata: CheckpointMetadata) -> None:
    """Write the metadata of a checkpoint. Its weights must already be in the folder."""
    write_text_atomically(folder / METADATA_NAME, metadata.model_dump_json(indent=2) + "\n")


def weights_path(folder: Path, metadata: CheckpointMetadata) -> Path:
    """Return the path of a checkpoint's weights."""
    return folder / _WEIGHTS.format(metadata.weights_sha256[:_HASH_LETTERS])


def has_checkpoint(folder: Path) -> bool:
    """Return whether a folder contains the metadata of a checkpoint."""
    return (folder / METADATA_NAME).exists()


def load_metadata(folder: Path) -> CheckpointMetadata:
    """Read the metadata of a checkpoint.

    Raises:
        RecipeError: the folder has no checkpoint, or one of another version.
    """
    path = folder / METADATA_NAME
    try:
        return CheckpointMetadata.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            "is not a checkpoint folder", "Give the output folder of wmh-train fit.", about=folder
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError("is not a text file", "Copy the checkpoint again.", about=path) from error
    except ValidationError as error:
        raise RecipeError(
            f"is not a checkpoint of this version: {describe_validation_error(error)}",
            "Train again with this version.",
            about=path,
        ) from error


def pretrained_file(
    metadata: CheckpointMetadata, pretrained: PretrainedWeights | None
) -> Path | None:
    """Return the pretrained weights to pass to `load_network`.

    Args:
        metadata: metadata of the checkpoint.
        pretrained: weights that its training started from.

    Returns:
        Path of the weights; None if the checkpoint contains its whole encoder.
    """
    if pretrained is None or metadata.pretrained is None:
        return None
    return pretrained.path


def load_network(
    folder: Path, metadata: CheckpointMetadata, pretrained: Path | None = None
) -> WmhNetwork:
    """Rebuild the network of a checkpoint in float32, in evaluation mode, always bit for bit equal.

    Args:
        folder: checkpoint folder.
        metadata: metadata of the checkpoint.
        pretrained: file with the weights of the frozen encoder; None if it was trained.

    Raises:
        RecipeError: the weights are missing, damaged, or do not match the metadata; or the
            pretrained weights are missing, not needed, or different ones.
        InputError: the pretrained weights cannot be read.
    """
    network = _build_network(folder, metadata, pretrained)
    path = weights_path(folder, metadata)
    tensors = read_tensors(folder, metadata)
    expected = own_tensors(network).keys()
    if tensors.keys() != expected:
        differing = sorted(tensors.keys() ^ expected)
        raise RecipeError(
            f"has {len(differing)} tensors that do not fit the recipe, such as {differing[0]}",
            "Keep the files of a checkpoint together.",
            about=path,
        )
    network.load_state_dict(tensors, strict=False)  # frozen weights are already loaded
    return network.eval()


def read_tensors(folder: Path, metadata: CheckpointMetadata) -> dict[str, Tensor]:
    """Read the stored weights of a checkpoint, by name.

    Raises:
        RecipeError: they are missing, damaged, or do not match the metadata.
    """
    path = weights_path(folder, metadata)
    try:
        sha256, tensors = sha256_file(path), load_file(path)
    except (OSError, SafetensorError) as error:
        raise RecipeError(f"cannot be read: {error}", "Train again.", about=path) from error
    if sha256 != metadata.weights_sha256:
        raise RecipeError(
            f"has SHA-256 {sha256[:12]}…, {METADATA_NAME} expects {metadata.weights_sha256[:12]}…",
            "Copy the whole checkpoint folder again.",
            about=path,
        )
    return tensors


def _build_network(
    folder: Path, metadata: CheckpointMetadata, pretrained: Path | None
) -> WmhNetwork:
    if metadata.pretrained is None:
        if pretrained is not None:
            raise RecipeError(
                "needs no pretrained weights",
                "Leave them out: the checkpoint contains its whole encoder.",
                about=folder,
            )
        return build_network(metadata.recipe)
    if pretrained is None:
        raise RecipeError(
            f"needs the pretrained weights {metadata.pretrained.name}, which it does not contain",
            "Give this file.",
            about=folder,
        )
    weights = read_pretrained(pretrained)
    if weights.identity.sha256 != metadata.pretrained.sha256:
        raise RecipeError(
            f"has SHA-256 {weights.identity.sha256[:12]}…, but the checkpoint was trained with"
            f" {metadata.pretrained.name} {metadata.pretrained.sha256[:12]}…",
            "Give the pretrained weights of the training.",
            about=pretrained,
        )
    return build_network(metadata.recipe, weights)
