"""Train a surrogate model: a ViT-B to measure with, without MedSAM's weights.

Random weights are enough to measure speed, but not parity: the masks of a random network mean
nothing. The surrogate model has the exact shape of the method's network, and finds lesions in
phantoms. Its encoder is random, with random LoRA adapters, so that merging them makes a difference.
Only the decoder is trained, on features of phantoms that are computed once.

    out/
    ├── pretrained.pth   a whole SAM with random weights, in MedSAM's format
    ├── phantoms/        phantoms and their masks
    ├── cache/           their preprocessed slices
    ├── features/        features of the training slices
    └── checkpoint/      the surrogate model; export it with --pretrained pretrained.pth
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.dev.surrogate.training import SurrogateListener, compute_features, train_decoder
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.inference.segmenter import SegmentationModel, Segmenter
from wmh_runtime.machine import available_cores
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.phantom.cohort import plan_cohort, write_cohort
from wmh_train.calibration.calibrate import calibrate_checkpoint
from wmh_train.checkpoint import (
    CheckpointMetadata,
    Provenance,
    load_metadata,
    load_network,
    save_checkpoint,
)
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.cache import CachedSlices, fill_cache, open_cache
from wmh_train.data.cache_entry import scan_key
from wmh_train.data.layouts import find_dataset
from wmh_train.data.sampling import draw_epoch
from wmh_train.data.split import Split
from wmh_train.loop.distributed import open_accelerator
from wmh_train.loop.validation import validation_dice
from wmh_train.model.network import build_network, parameter_counts
from wmh_train.model.pretrained import PretrainedWeights, read_pretrained
from wmh_train.model.random_pretrained import write_random_pretrained
from wmh_train.model.sam_network import SamNetwork
from wmh_train.recipe.recipe import Recipe
from wmh_train.torch_backend import TorchBackend

_PHANTOM_SEED = 7000  # the phantoms are sub-7000000 and following
_LOADS_ML = (5.0, 60.0)
_EMPTY_SLICES = 0.15
_ADAPTER_STD = 0.02  # of the second matrices of LoRA, which would otherwise be zero
_EPOCHS, _QUICK_EPOCHS, _BATCH_SIZE, _LEARNING_RATE = 12, 6, 8, 2e-3
MIN_DICE = 0.6  # below it, the masks mean too little to measure parity


@dataclass(frozen=True)
class PhantomCounts:
    """Number of phantoms of each kind."""

    training: int = 24
    validation: int = 1  # eight views of a phantom by a ViT-B take minutes on two cores
    test: int = 3


QUICK = PhantomCounts(training=8, test=1)  # takes minutes; the masks are worse


@dataclass(frozen=True)
class SurrogateModel:
    """The trained model."""

    metadata: CheckpointMetadata
    test_dice: dict[str, float]  # by phantom, with one view

    @property
    def mean_dice(self) -> float:
        """Mean Dice of the test phantoms."""
        return float(np.mean(list(self.test_dice.values())))


def make_surrogate_model(
    out: Path, listener: SurrogateListener, recipe: Recipe, counts: PhantomCounts | None = None
) -> SurrogateModel:
    """Make the surrogate model. Phantoms, slices and features that exist already are reused.

    Args:
        out: folder for all files.
        listener: receives the progress.
        recipe: from `surrogate_recipe`, with a frozen encoder.
        counts: number of phantoms.

    Raises:
        InputError: `out` cannot be written to.
    """
    make_writable_folder(out)
    pretrained_path, checkpoint = out / "pretrained.pth", out / "checkpoint"
    counts = counts or PhantomCounts()
    accelerator = open_accelerator(recipe)
    if not pretrained_path.exists():
        listener.stage("writing random weights", 1)
        assert recipe.network.encoder is not None
        write_random_pretrained(pretrained_path, recipe.network.encoder, seed=recipe.schedule.seed)
        listener.advance()
    pretrained = read_pretrained(pretrained_path)
    data = _write_phantoms(out / "phantoms", counts, listener)
    scans = find_dataset(data, recipe.channels, recipe.outputs).scans
    training, scans = scans[: counts.training], scans[counts.training :]
    validation, test = scans[: counts.validation], scans[counts.validation :]
    listener.stage("preprocessing", len(training) + len(validation))
    cache = out / "cache"
    fill_cache([*training, *validation], recipe.preprocessing, cache, listener.advance)
    slices = open_cache(training, recipe.preprocessing, cache)

    network = _random_network(recipe, pretrained).to(accelerator.device)
    indices = draw_epoch(
        slices.with_target, slices.sites, recipe.data, seed=recipe.schedule.seed, epoch=0
    )
    identity = _identity(recipe, pretrained, slices, indices)
    features = compute_features(
        network, slices, indices, out / "features" / f"{identity}.npy", listener
    )
    loss = train_decoder(network, recipe, slices, indices, features, listener)

    parameters = parameter_counts(network)
    metadata = CheckpointMetadata(
        recipe=recipe,
        pretrained=pretrained.identity,
        identity=identity,
        split=Split(
            training=[scan.name for scan in training],
            validation=[scan.name for scan in validation],
            test=[scan.name for scan in test],
        ),
        scan_keys={
            scan.name: scan_key(scan, recipe.preprocessing) for scan in (*training, *validation)
        },
        epoch=recipe.schedule.epochs,
        finished=True,
        validation=validation_dice(
            network,
            open_cache(validation, recipe.preprocessing, cache),
            recipe,
            accelerator,
        ),
        provenance=Provenance(
            data="Procedural FLAIR phantoms made by wmh-phantom",
            parameters=parameters.total,
            trained_parameters=parameters.decoder,
            training_slices=len(indices),
            details={
                "made by": "benchmarks.dev surrogate-model: random encoder and adapters",
                "training_loss": round(loss, 4),
            },
        ),
    )
    save_checkpoint(checkpoint, network, metadata)
    listener.stage("calibrating", len(validation))
    calibrate_checkpoint(checkpoint, list(validation), pretrained_path, listener.advance)
    return SurrogateModel(
        load_metadata(checkpoint), _measure_test_dice(checkpoint, pretrained_path, test, listener)
    )


def surrogate_recipe(recipe: Recipe, *, quick: bool = False) -> Recipe:
    """Return the recipe of the surrogate model: the network of another recipe, trained briefly."""
    epochs = _QUICK_EPOCHS if quick else _EPOCHS
    schedule = recipe.schedule.model_copy(
        update={
            "epochs": epochs,
            "warmup_epochs": 0.5,
            "restart_epochs": epochs - 0.5,
            "batch_size": _BATCH_SIZE,
            "micro_batch_size": _BATCH_SIZE,
        }
    )
    return recipe.model_copy(
        update={
            "name": "surrogate",
            "data": recipe.data.model_copy(update={"empty_slices": _EMPTY_SLICES}),
            "optimizer": recipe.optimizer.model_copy(update={"learning_rate": _LEARNING_RATE}),
            "schedule": schedule,
        }
    )


def _random_network(recipe: Recipe, pretrained: PretrainedWeights) -> SamNetwork:
    """Build the network with random adapters that change the output of the encoder."""
    torch.manual_seed(recipe.schedule.seed)
    network = build_network(recipe, pretrained)
    assert isinstance(network, SamNetwork)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=_ADAPTER_STD)
    return network.eval()


def _write_phantoms(folder: Path, counts: PhantomCounts, listener: SurrogateListener) -> Path:
    """Write the phantoms that do not exist yet, and return the folder."""
    plans = plan_cohort(counts.training + counts.validation + counts.test, _PHANTOM_SEED, _LOADS_ML)
    missing = [plan for plan in plans if not all(path.exists() for path in plan.paths(folder))]
    listener.stage("writing phantoms", len(missing))
    if missing:
        for path in (path for plan in missing for path in plan.paths(folder)):
            path.unlink(missing_ok=True)  # scan without mask, or mask without scan
        write_cohort(missing, folder, workers=available_cores(), on_written=listener.advance)
    return folder


def _identity(
    recipe: Recipe,
    pretrained: PretrainedWeights,
    slices: CachedSlices,
    indices: NDArray[np.int_],
) -> str:
    """Hash everything that the features depend on."""
    inputs = (
        recipe.model_dump_json(),
        pretrained.identity.sha256,
        str(_ADAPTER_STD),
        *(one.targets.name for one in slices.cached),
        *map(str, indices),
    )
    return hashlib.sha256("\n".join(inputs).encode()).hexdigest()


def _measure_test_dice(
    checkpoint: Path,
    pretrained: Path,
    scans: tuple[AnnotatedScan, ...],
    listener: SurrogateListener,
) -> dict[str, float]:
    """Return the Dice with one view of phantoms without any part in training and calibration."""
    metadata = load_metadata(checkpoint)
    assert metadata.calibration is not None
    listener.stage("testing", len(scans))
    (point,) = (point for point in metadata.calibration.operating_points if point.views == 1)
    dice = {}
    network = load_network(checkpoint, metadata, pretrained)
    recipe = metadata.recipe
    model = SegmentationModel(recipe.channels, recipe.preprocessing, point.outputs)
    with (
        TorchBackend(network, recipe, views=1) as backend,
        Segmenter(model, [backend]) as segmenter,
    ):
        for scan in scans:
            channels, references = scan.load()
            (result,) = segmenter.segment(channels).results
            dice[scan.name] = dice_of_masks(result.lesions.mask, references[0].lesion)
            listener.note(f"{scan.name}: Dice {dice[scan.name]:.3f}")
            listener.advance()
    return dice
