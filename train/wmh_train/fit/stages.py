"""A training in stages: each starts from the best epoch of the one before.

out/
├── checkpoint.json, model-….safetensors    of the last stage, when all are finished
├── curves.png, history.csv                 of all stages
├── 1-bronze/, 2-silver/, …                 each stage, as `fit` writes it
└── cache/                                  preprocessed slices of all stages
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from wmh_runtime.errors import RecipeError
from wmh_runtime.files.atomic import write_bytes_atomically
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.text import count_noun
from wmh_train.checkpoint import (
    CheckpointMetadata,
    StageProvenance,
    has_checkpoint,
    load_metadata,
    save_metadata,
    weights_path,
)
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.cache import fill_cache
from wmh_train.data.file_hashes import image_hash
from wmh_train.data.stage_splits import split_stages
from wmh_train.fit.fit import CACHE_NAME, FitData, FitListener, fit, scan_keys
from wmh_train.fit.input_checks import require_disjoint_split
from wmh_train.fit.stage_history import write_stage_history
from wmh_train.initial_weights import InitialWeights, read_initial_weights
from wmh_train.loop.distributed import require_one_process
from wmh_train.loop.schedule import schedule_warnings
from wmh_train.model.layers import freeze_layers
from wmh_train.model.network import build_network
from wmh_train.model.pretrained import PretrainedWeights
from wmh_train.recipe.recipe import Recipe


@dataclass(frozen=True)
class StageData:
    """What a stage learns from."""

    name: str  # of the stage
    masks: str  # where its masks are from, for the record
    scans: tuple[AnnotatedScan, ...]


def fit_stages(
    recipe: Recipe,
    data: Sequence[StageData],
    out: Path,
    pretrained: PretrainedWeights | None,
    listener: FitListener,
    *,
    cache: Path | None = None,
    initial: InitialWeights | None = None,
) -> CheckpointMetadata:
    """Train all stages of a recipe. An interrupted training is resumed, finished stages are kept.

    Args:
        recipe: with stages.
        data: of each stage, in their order.
        out: output folder, created if missing.
        pretrained: weights of the encoder; required if it is frozen.
        listener: receives the progress.
        cache: folder of preprocessed slices; None: a folder in `out`.
        initial: weights of another training that the first stage starts from; None: random ones.

    Returns:
        The metadata of the last stage's checkpoint, with the provenance of all stages.

    Raises:
        RecipeError: as `fit`, found for all stages before the first one is trained; or the persons
            are too few for all stages, or there are several processes.
        InputError: a scan cannot be read, or `out` cannot be written.
    """
    require_one_process("a training in stages")
    recipes = [recipe.of_stage(one.name) for one in data]
    settings = [(one.name, one.scans, own.data) for one, own in zip(data, recipes, strict=True)]
    splits = split_stages(settings, recipe.schedule.seed)
    make_writable_folder(out)
    _require_own_folder(out, [one.name for one in data])
    cache = cache or out / CACHE_NAME
    inputs = [FitData(one.masks, one.scans, split) for one, split in zip(data, splits, strict=True)]
    if not has_checkpoint(out):
        _check_stages(recipes, inputs, cache, listener)
    folders = [out / f"{number}-{one.name}" for number, one in enumerate(data, start=1)]
    done: list[CheckpointMetadata] = []
    records: list[StageProvenance] = []
    for one, own, given, folder in zip(data, recipes, inputs, folders, strict=True):
        listener.info(
            f"stage {len(done) + 1} of {len(data)}, {one.name}:"
            f" {count_noun(own.optimizer.frozen_layers, 'layer')} frozen"
        )
        metadata = fit(
            own,
            given,
            folder,
            pretrained,
            listener,
            cache=cache,
            initial=_weights_of(data[len(done) - 1], folders[len(done) - 1]) if done else initial,
        )
        done.append(metadata)
        records.append(_record(one, metadata))
        write_stage_history(out, records, folders[: len(done)])
    return _copy_last(out, recipe.name, folders[-1], done[-1], records)


def _weights_of(stage: StageData, folder: Path) -> InitialWeights:
    """Read the best weights of a stage; in records, they have the name of the stage."""
    weights = read_initial_weights(folder)
    identity = weights.identity.model_copy(update={"name": f"stage {stage.name}"})
    return replace(weights, identity=identity)


def _require_own_folder(out: Path, names: Sequence[str]) -> None:
    """Refuse a folder with the checkpoint of another training; RecipeError."""
    if not has_checkpoint(out):
        return
    there = [stage.name for stage in load_metadata(out).provenance.stages]
    if there != list(names):
        has = f"stages {', '.join(there)}" if there else "no stages"
        raise RecipeError(
            f"contains a checkpoint of another training: it has {has}, the recipe has"
            f" {', '.join(names)}",
            "Use another folder.",
            about=out,
        )


def _check_stages(
    recipes: Sequence[Recipe], inputs: Sequence[FitData], cache: Path, listener: FitListener
) -> None:
    """Find what any stage would stop at before the first one is trained, and preprocess all scans.

    Raises:
        RecipeError: a stage has nothing to train, a stage learns from an image that another one
            validates or tests with, or a training scan is a validation scan, too.
        InputError: a scan or mask cannot be used, or the cache cannot be written.
    """
    for recipe, given in zip(recipes, inputs, strict=True):
        with torch.device("meta"):
            freeze_layers(build_network(recipe), recipe.optimizer.frozen_layers)
        recipe.preprocessing.require_installed()
        if recipe is not recipes[0]:
            for warning in schedule_warnings(recipe):  # fit warns, too, when the stage begins
                listener.warning(f"{recipe.name}: {warning}")
        require_disjoint_split(given.split, scan_keys(recipe, given))
        for scan in given.scans_named(given.split.test):
            scan.load()  # is not preprocessed, but must be readable in the end
    _require_other_images(inputs)
    scans = [
        scan
        for given in inputs
        for scan in given.scans_named((*given.split.training, *given.split.validation))
    ]
    done = 0

    def count_scan() -> None:
        nonlocal done
        done += 1
        listener.preprocessing(done, len(scans))

    fill_cache(scans, recipes[0].preprocessing, cache, count_scan)


def _require_other_images(inputs: Sequence[FitData]) -> None:
    """Refuse to validate or test with an image that a stage has learned from under another name.

    A stage may learn from an image that an earlier one has validated with.
    """
    learned: dict[str, str] = {}
    for given in inputs:
        training, judged = given.split.training, (*given.split.validation, *given.split.test)
        learned |= {image_hash(scan): scan.name for scan in given.scans_named(training)}
        for scan in given.scans_named(judged):
            if other := learned.get(image_hash(scan)):
                raise RecipeError(
                    f"{other} and {scan.name} are the same image: a stage would learn from the one,"
                    " and validate or test with the other",
                    "Give it once, or with the same subject.",
                )


def _record(data: StageData, metadata: CheckpointMetadata) -> StageProvenance:
    return StageProvenance(
        name=data.name,
        data=data.masks,
        training_scans=len(metadata.split.training),
        validation_scans=len(metadata.split.validation),
        frozen_layers=metadata.recipe.optimizer.frozen_layers,
        trained_parameters=metadata.provenance.trained_parameters,
        epoch=metadata.epoch,
        validation=metadata.validation,
    )


def _copy_last(
    out: Path, name: str, folder: Path, metadata: CheckpointMetadata, stages: list[StageProvenance]
) -> CheckpointMetadata:
    """Write the checkpoint of the last stage to the output folder, unless it is there.

    It has the name of the recipe of all stages.
    """
    if has_checkpoint(out):
        if (there := load_metadata(out)).identity == metadata.identity:
            return there  # perhaps calibrated
        raise RecipeError(
            "contains a checkpoint of another training in the same stages",
            "Use another folder.",
            about=out,
        )
    provenance = metadata.provenance.model_copy(update={"stages": stages})
    recipe = metadata.recipe.model_copy(update={"name": name})
    metadata = metadata.model_copy(update={"recipe": recipe, "provenance": provenance})
    write_bytes_atomically(weights_path(out, metadata), weights_path(folder, metadata).read_bytes())
    save_metadata(out, metadata)
    return metadata
