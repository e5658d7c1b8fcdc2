"""A trained ViT-B to measure with, made without MedSAM's weights.

Speed can be measured with random weights, but whether a faster graph still gives the same masks
cannot: masks of a random network mean nothing. So this makes a network of exactly the method's
shape whose masks mean something. Its encoder is random, with adapters perturbed so that merging
them matters; only the decoder is trained, on features of phantoms that are computed once.

    out/
    ├── base.pth       a whole SAM with random weights, in MedSAM's format
    ├── phantoms/      made-up heads and their masks
    ├── cache/         their prepared slices
    ├── features/      what the encoder makes of those that are learned from
    └── checkpoint/    the stand-in; give it to wmh-export with --base base.pth
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmh_runtime.files.atomic import atomic_path
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.phantom.cohort import plan_cohort, write_cohort
from wmh_train.calibration.calibrate import calibrate_checkpoint
from wmh_train.checkpoint import (
    CheckpointFacts,
    Provenance,
    load_facts,
    load_network,
    save_checkpoint,
)
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.cache import CachedSlices, fill_cache, open_cache, scan_key
from wmh_train.data.layouts import find_data
from wmh_train.data.sampling import draw_epoch
from wmh_train.data.split import Split
from wmh_train.loop.distributed import open_accelerator
from wmh_train.loop.losses import SegmentationLoss
from wmh_train.loop.schedule import learning_rate
from wmh_train.loop.validation import validation_dice
from wmh_train.model.base import Base, read_base
from wmh_train.model.network import WmhNetwork, parameter_counts
from wmh_train.model.random_base import write_random_base
from wmh_train.recipe.recipe import Recipe
from wmh_train.torch_backend import TorchBackend

_SEED = 7000  # of the phantoms: 7000000 and on
_LOADS_ML = (5.0, 60.0)
_EMPTY_SLICES = 0.15
_ADAPTER_SPREAD = 0.02  # of LoRA's second matrices, which would otherwise be zero
_EPOCHS, _QUICK_EPOCHS, _BATCH, _RATE = 12, 6, 8, 2e-3
LOWEST_DICE = 0.6  # below it masks do not mean enough to measure with


@dataclass(frozen=True)
class Heads:
    """How many phantoms of each kind."""

    training: int = 24
    validation: int = 1  # eight views of every slice by a ViT-B take minutes a head on two cores
    unseen: int = 3


QUICK = Heads(training=8, unseen=1)  # where minutes count more than good masks


@dataclass(frozen=True)
class StandIn:
    """What was made."""

    facts: CheckpointFacts
    unseen_dice: dict[str, float]  # by phantom: one view, files to masks

    @property
    def mean_dice(self) -> float:
        """Over the unseen phantoms."""
        return float(np.mean(list(self.unseen_dice.values())))


class StandInListener(Protocol):
    """Is told how the making goes."""

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` parts begins."""

    def advance(self) -> None:
        """A part of the stage is done."""

    def note(self, line: str) -> None:
        """Something is worth reading."""


def make_stand_in(
    out: Path, listener: StandInListener, recipe: Recipe, heads: Heads | None = None
) -> StandIn:
    """Make the stand-in; phantoms, slices and features that are there already are kept.

    Args:
        out: folder for all of it.
        listener: is told how it goes.
        recipe: with a frozen encoder, from `stand_in_recipe`.
        heads: how many phantoms.

    Raises:
        InputError: `out` cannot be written to.
    """
    make_writable_folder(out)
    base_path, checkpoint = out / "base.pth", out / "checkpoint"
    heads = heads or Heads()
    accelerator = open_accelerator(recipe)
    if not base_path.exists():
        listener.stage("writing random weights", 1)
        write_random_base(base_path, recipe.network.encoder, seed=recipe.schedule.seed)
        listener.advance()
    base = read_base(base_path)
    data = _phantoms(out / "phantoms", heads, listener)
    scans = find_data(data, recipe.channels, recipe.outputs).scans
    training, scans = scans[: heads.training], scans[heads.training :]
    validation, unseen = scans[: heads.validation], scans[heads.validation :]
    listener.stage("preparing", len(training) + len(validation))
    cache = out / "cache"
    fill_cache([*training, *validation], recipe.preprocessing, cache, listener.advance)
    slices = open_cache(training, recipe.preprocessing, cache)

    network = perturbed_network(recipe, base).to(accelerator.device)
    chosen = draw_epoch(
        slices.with_lesion, recipe.data.empty_slices, seed=recipe.schedule.seed, epoch=0
    )
    path = out / "features" / f"{_identity(recipe, base, slices, chosen)}.npy"
    features = _features(network, slices, chosen, path, listener)
    loss = _train_decoder(network, recipe, slices, chosen, features, listener)

    counts = parameter_counts(network)
    facts = CheckpointFacts(
        recipe=recipe,
        base=base.identity,
        identity=_identity(recipe, base, slices, chosen),
        split=Split(
            training=[scan.name for scan in training],
            validation=[scan.name for scan in validation],
            test=[scan.name for scan in unseen],
        ),
        scan_keys={
            scan.name: scan_key(scan, recipe.preprocessing) for scan in (*training, *validation)
        },
        epoch=recipe.schedule.epochs,
        finished=True,
        validation=validation_dice(
            network,
            open_cache(validation, recipe.preprocessing, cache),
            recipe.schedule.slices_at_once,
            accelerator,
        ),
        provenance=Provenance(
            data="Procedural FLAIR phantoms made by wmh-phantom",
            parameters=counts.total,
            trained_parameters=counts.decoder,
            training_slices=len(chosen),
            details={
                "made by": "wmh-bench dev stand-in: random encoder, perturbed adapters",
                "training_loss": round(loss, 4),
            },
        ),
    )
    save_checkpoint(checkpoint, network, facts)
    listener.stage("calibrating", len(validation))
    calibrate_checkpoint(checkpoint, list(validation), base_path, listener.advance)
    return StandIn(load_facts(checkpoint), _unseen_dice(checkpoint, base_path, unseen, listener))


def stand_in_recipe(recipe: Recipe, *, quick: bool = False) -> Recipe:
    """Return the recipe of a stand-in: the network of another recipe, trained quickly."""
    epochs = _QUICK_EPOCHS if quick else _EPOCHS
    schedule = recipe.schedule.model_copy(
        update={
            "epochs": epochs,
            "warmup_epochs": 0.5,
            "restart_epochs": epochs - 0.5,
            "batch_size": _BATCH,
            "slices_at_once": _BATCH,
        }
    )
    return recipe.model_copy(
        update={
            "name": "stand-in",
            "data": recipe.data.model_copy(update={"empty_slices": _EMPTY_SLICES}),
            "optimizer": recipe.optimizer.model_copy(update={"learning_rate": _RATE}),
            "schedule": schedule,
        }
    )


def perturbed_network(recipe: Recipe, base: Base) -> WmhNetwork:
    """Build the network on its base, with adapters that change what the encoder gives."""
    torch.manual_seed(recipe.schedule.seed)
    network = WmhNetwork(recipe, base)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=_ADAPTER_SPREAD)
    return network.eval()


def _phantoms(folder: Path, heads: Heads, listener: StandInListener) -> Path:
    count = heads.training + heads.validation + heads.unseen
    plans = plan_cohort(count, _SEED, _LOADS_ML)
    missing = [plan for plan in plans if not all(path.exists() for path in plan.paths(folder))]
    listener.stage("making phantoms", len(missing))
    if missing:
        for path in (path for plan in missing for path in plan.paths(folder)):
            path.unlink(missing_ok=True)  # half of a pair
        workers = os.cpu_count() or 1
        write_cohort(missing, folder, workers=workers, on_written=listener.advance)
    return folder


def _identity(recipe: Recipe, base: Base, slices: CachedSlices, chosen: NDArray[np.int_]) -> str:
    """Hash all that the features, and so the stand-in, depend on."""
    parts = (
        recipe.model_dump_json(),
        base.identity.sha256,
        str(_ADAPTER_SPREAD),
        *(folder.name for folder in slices.folders),
        *map(str, chosen),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _features(
    network: WmhNetwork,
    slices: CachedSlices,
    chosen: NDArray[np.int_],
    path: Path,
    listener: StandInListener,
) -> NDArray[np.float16]:
    """Return what the encoder makes of the chosen slices, float16 (n, 256, s, s), on disk.

    The encoder runs in bfloat16, twice as fast as in float32 on processors that can.
    """
    listener.stage("encoding", len(chosen))
    if path.exists():
        return np.load(path, mmap_mode="r")
    make_writable_folder(path.parent)
    device = next(network.parameters()).device
    features: np.memmap[Any, np.dtype[np.float16]] | None = None
    with (
        atomic_path(path) as partial,
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16),
    ):
        for i, place in enumerate(chosen):
            image = torch.from_numpy(slices.read([place])[0]).to(device)
            encoded = network.encoder(network.adapter(image))
            one = encoded.float().cpu().numpy().astype(np.float16)
            if features is None:
                shape = (len(chosen), *one.shape[1:])
                features = np.lib.format.open_memmap(partial, "w+", np.float16, shape)
            features[i] = one[0]
            listener.advance()
        assert features is not None
        features.flush()
    return np.load(path, mmap_mode="r")


def _train_decoder(
    network: WmhNetwork,
    recipe: Recipe,
    slices: CachedSlices,
    chosen: NDArray[np.int_],
    features: NDArray[np.float16],
    listener: StandInListener,
) -> float:
    """Train the decoder alone, without augmentation; return the mean loss of the last epoch."""
    decoder, loss_of = network.decoder, SegmentationLoss(recipe.loss)
    device = next(decoder.parameters()).device
    optimizer = torch.optim.AdamW(decoder.parameters(), weight_decay=recipe.optimizer.weight_decay)
    schedule = recipe.schedule
    steps = len(chosen) // schedule.batch_size
    listener.stage("training the decoder", schedule.epochs * steps)
    decoder.train()
    losses: list[float] = []
    for epoch in range(schedule.epochs):
        losses = []
        for step, batch in enumerate(_batches(len(chosen), steps, schedule.seed, epoch)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(epoch * steps + step, steps, recipe)
            images, targets = (
                torch.from_numpy(part).to(device) for part in slices.read(chosen[batch])
            )
            encoded = torch.from_numpy(np.asarray(features[batch], np.float32)).to(device)
            with torch.autocast(device.type, torch.bfloat16):
                logits = decoder(encoded, images)
            loss: Tensor = loss_of(logits, targets).total
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(decoder.parameters(), recipe.optimizer.clip_norm)
            optimizer.step()
            losses.append(loss.item())
            listener.advance()
        listener.note(f"epoch {epoch + 1}/{schedule.epochs}: loss {np.mean(losses):.3f}")
    decoder.eval()
    return float(np.mean(losses))


def _batches(count: int, steps: int, seed: int, epoch: int) -> Iterator[NDArray[np.int_]]:
    order = np.random.default_rng([seed, epoch]).permutation(count)
    yield from np.array_split(order[: steps * (count // steps)], steps)


def _unseen_dice(
    checkpoint: Path,
    base: Path,
    scans: tuple[AnnotatedScan, ...],
    listener: StandInListener,
) -> dict[str, float]:
    """Measure the Dice on phantoms that were neither learned from nor calibrated on, one view."""
    facts = load_facts(checkpoint)
    assert facts.calibration is not None
    listener.stage("measuring", len(scans))
    (choice,) = (c for c in facts.calibration.choices if c.views == 1)
    found = {}
    network = load_network(checkpoint, facts, base)
    with TorchBackend(network, facts.recipe, views=1) as backend:
        segmenter = Segmenter(facts.recipe.preprocessing, choice.outputs, backend)
        for scan in scans:
            channels, references = scan.load()
            (result,) = segmenter.segment(*channels).results
            found[scan.name] = dice_of_masks(result.lesions.mask, references[0].lesion)
            listener.note(f"{scan.name}: Dice {found[scan.name]:.3f}")
            listener.advance()
    return found
