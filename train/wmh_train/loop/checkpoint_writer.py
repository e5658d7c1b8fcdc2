"""The checkpoint of a training's best epoch, written while it goes on and finished when it ends."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import Accelerator

from wmh_train.checkpoint import (
    CheckpointFacts,
    Provenance,
    base_file,
    load_facts,
    load_network,
    save_checkpoint,
    trained_tensors,
)
from wmh_train.data.cache import CachedSlices
from wmh_train.data.split import Split
from wmh_train.loop.loop import EpochReport, LoopListener
from wmh_train.loop.resume import sha256_of_tensors
from wmh_train.loop.validation import validation_dice
from wmh_train.model.base import Base, BaseIdentity
from wmh_train.model.network import WmhNetwork, parameter_counts
from wmh_train.recipe.recipe import Recipe


@dataclass(frozen=True)
class Origin:
    """What a training is of."""

    data: str  # what the data set calls itself
    split: Split
    identity: str  # see CheckpointFacts
    scan_keys: dict[str, str]  # likewise


@dataclass(frozen=True)
class Publisher(LoopListener):
    """Writes the checkpoint of every epoch that is the best so far."""

    out: Path
    network: WmhNetwork
    recipe: Recipe
    base: Base | None
    origin: Origin
    training: CachedSlices

    def best(self, report: EpochReport) -> None:
        """Write the network as it is now."""
        counts = parameter_counts(self.network)
        facts = CheckpointFacts(
            recipe=self.recipe,
            base=self._standing_on(),
            identity=self.origin.identity,
            split=self.origin.split,
            scan_keys=self.origin.scan_keys,
            epoch=report.epoch,
            finished=False,
            validation=report.validation,
            provenance=Provenance(
                data=self.origin.data,
                parameters=counts.total,
                trained_parameters=counts.trained,
                training_slices=len(self.training.with_lesion),
                details={
                    "begun_from": self.base.identity.name if self.base is not None else "random",
                    "training_loss": round(report.losses["total"], 4),
                    "minutes": round(report.seconds / 60, 1),
                    "processor": platform.machine(),
                    "torch": torch.__version__,
                    "wmh-lora": version("wmh-lora"),
                },
            ),
        )
        save_checkpoint(self.out, self.network, facts)

    def _standing_on(self) -> BaseIdentity | None:
        """Return the base that the checkpoint cannot do without: not that of a trained encoder."""
        if self.base is None or self.recipe.network.encoder.trained:
            return None
        return self.base.identity


def finished_facts(
    out: Path,
    network: WmhNetwork,
    base: Base | None,
    validation: CachedSlices,
    accelerator: Accelerator,
) -> CheckpointFacts:
    """Load the best checkpoint as anybody would, measure it again, and call it finished.

    Args:
        out: folder of the checkpoint.
        network: as the last step left it, for its hash.
        base: weights that it was begun from.
        validation: slices to measure on.
        accelerator: device and processes.
    """
    facts = load_facts(out)
    best = load_network(out, facts, base_file(facts, base)).to(accelerator.device)
    slices_at_once = facts.recipe.schedule.slices_at_once
    details = {"last_float32_sha256": sha256_of_tensors(trained_tensors(network))}
    return facts.model_copy(
        update={
            "validation": validation_dice(best, validation, slices_at_once, accelerator),
            "finished": True,
            "provenance": facts.provenance.model_copy(
                update={"details": facts.provenance.details | details}
            ),
        }
    )
