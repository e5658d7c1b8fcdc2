"""Write the checkpoint of the best epoch during a training, and complete it at the end."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import Accelerator

from wmh_runtime.bundle.training_record import Teacher
from wmh_train.checkpoint import (
    CheckpointMetadata,
    Provenance,
    load_metadata,
    load_network,
    own_tensors,
    pretrained_file,
    save_checkpoint,
)
from wmh_train.data.annotated import count_sites
from wmh_train.data.cache import CachedSlices
from wmh_train.data.file_hashes import image_hash
from wmh_train.data.split import Split
from wmh_train.loop.resume import sha256_of_tensors
from wmh_train.loop.training_loop import EpochReport, LoopListener
from wmh_train.loop.validation import validation_dice
from wmh_train.model.network import WmhNetwork, parameter_counts
from wmh_train.model.pretrained import PretrainedIdentity, PretrainedWeights
from wmh_train.recipe.recipe import Recipe
from wmh_train.synthesis.cohort import Sources


@dataclass(frozen=True)
class TrainingInputs:
    """The data of a training, as recorded in its checkpoint."""

    data: str  # name of the data set
    split: Split
    identity: str  # see CheckpointMetadata
    scan_keys: dict[str, str]  # see CheckpointMetadata
    initial_weights: str = "random"  # what the training started from
    sources: Sources | None = None  # of the new heads of each epoch
    teacher: Teacher | None = None  # of the taught scans
    learned_before: Sequence[str] = ()  # images, by the weights that the training started from


@dataclass(frozen=True)
class CheckpointWriter(LoopListener):
    """Writes a checkpoint after each epoch that is the best so far."""

    out: Path
    network: WmhNetwork
    recipe: Recipe
    pretrained: PretrainedWeights | None
    inputs: TrainingInputs
    training: CachedSlices
    validation: CachedSlices

    def best(self, report: EpochReport) -> None:
        """Write the network with its current weights."""
        counts, sources = parameter_counts(self.network), self.inputs.sources
        metadata = CheckpointMetadata(
            recipe=self.recipe,
            pretrained=self._required_weights(),
            identity=self.inputs.identity,
            split=self.inputs.split,
            scan_keys=self.inputs.scan_keys,
            epoch=report.epoch,
            finished=False,
            validation=report.validation,
            provenance=Provenance(
                data=self.inputs.data,
                parameters=counts.total,
                trained_parameters=counts.trained,
                training_slices=len(self.training.with_target),
                training_sites=count_sites(self.training.scans),
                validation_sites=count_sites(self.validation.scans),
                learned_images=sorted(
                    {*self.inputs.learned_before, *map(image_hash, self.training.scans)}
                ),
                new_heads=self.recipe.data.new_heads,
                teacher=self.inputs.teacher,
                details={
                    "initial_weights": self.inputs.initial_weights,
                    "training_loss": round(report.losses["total"], 4),
                    "minutes": round(report.seconds / 60, 1),
                    "cpu_architecture": platform.machine(),
                    "torch": torch.__version__,
                    "wmh-lora": version("wmh-lora"),
                    **({"new_heads_made_from": sources.sha256} if sources else {}),
                },
            ),
        )
        save_checkpoint(self.out, self.network, metadata)

    def _required_weights(self) -> PretrainedIdentity | None:
        """Return the pretrained weights that the checkpoint needs; None if it has all weights."""
        if self.pretrained is None or not self.recipe.network.needs_pretrained:
            return None
        return self.pretrained.identity


def finished_metadata(
    out: Path,
    network: WmhNetwork,
    pretrained: PretrainedWeights | None,
    validation: CachedSlices,
    accelerator: Accelerator,
) -> CheckpointMetadata:
    """Load the best checkpoint from disk, validate it again, and return its final metadata.

    Args:
        out: checkpoint folder.
        network: network after the last step; the metadata contains a hash of its weights.
        pretrained: weights that the training started from.
        validation: validation slices.
        accelerator: device and processes.
    """
    metadata = load_metadata(out)
    best = load_network(out, metadata, pretrained_file(metadata, pretrained))
    best.to(accelerator.device)
    details = {"last_float32_sha256": sha256_of_tensors(own_tensors(network))}
    return metadata.model_copy(
        update={
            "validation": validation_dice(best, validation, metadata.recipe, accelerator),
            "finished": True,
            "provenance": metadata.provenance.model_copy(
                update={"details": metadata.provenance.details | details}
            ),
        }
    )
