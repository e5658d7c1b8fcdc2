"""A training in stages: each starts from the best epoch of the one before.

out/
├── checkpoint.json, model-….safetensors    of the last stage, when all are finished
├── curves.png, history.csv                 of all stages
├── 1-bronze/, 2-silver/, …                 each stage, as `fit` writes it
└── cache/                                  preprocessed slices of all stages
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
from wmh_train.data.stage_splits import split_stages
from wmh_train.fit.fit import CACHE_NAME, FitData, FitListener, fit
from wmh_train.fit.stage_history import write_stage_history
from wmh_train.initial_weights import InitialWeights, read_initial_weights
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
        RecipeError: as `fit`; or the persons are too few for all stages.
        InputError: a scan cannot be read, or `out` cannot be written.
    """
    recipes = [recipe.of_stage(one.name) for one in data]
    settings = [(one.name, one.scans, own.data) for one, own in zip(data, recipes, strict=True)]
    splits = split_stages(settings, recipe.schedule.seed)
    make_writable_folder(out)
    folders = [out / f"{number}-{one.name}" for number, one in enumerate(data, start=1)]
    done: list[CheckpointMetadata] = []
    records: list[StageProvenance] = []
    for one, own, split, folder in zip(data, recipes, splits, folders, strict=True):
        listener.info(
            f"stage {len(done) + 1} of {len(data)}, {one.name}:"
            f" {count_noun(own.optimizer.frozen_layers, 'layer')} frozen"
        )
        metadata = fit(
            own,
            FitData(one.masks, one.scans, split),
            folder,
            pretrained,
            listener,
            cache=cache or out / CACHE_NAME,
            initial=read_initial_weights(folders[len(done) - 1]) if done else initial,
        )
        done.append(metadata)
        records.append(_record(one, metadata))
        write_stage_history(out, records, folders[: len(done)])
    return _copy_last(out, folders[-1], done[-1], records)


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
    out: Path, folder: Path, metadata: CheckpointMetadata, stages: list[StageProvenance]
) -> CheckpointMetadata:
    """Write the checkpoint of the last stage to the output folder, unless it is there."""
    if has_checkpoint(out) and (there := load_metadata(out)).identity == metadata.identity:
        return there  # perhaps calibrated
    provenance = metadata.provenance.model_copy(update={"stages": stages})
    metadata = metadata.model_copy(update={"provenance": provenance})
    write_bytes_atomically(weights_path(out, metadata), weights_path(folder, metadata).read_bytes())
    save_metadata(out, metadata)
    return metadata
