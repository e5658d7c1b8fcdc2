"""A recipe and a checkpoint that train and export in seconds."""

import json
from pathlib import Path
from typing import Any

from wmh_runtime.preprocessing.preprocess import Preprocessing
from wmh_train.checkpoint import CheckpointMetadata, Provenance, ValidationDice
from wmh_train.data.layouts import find_dataset
from wmh_train.data.split import Split, split_scans
from wmh_train.fit.fit import FitData
from wmh_train.model.pretrained import PretrainedIdentity
from wmh_train.model.random_pretrained import write_random_pretrained
from wmh_train.recipe.recipe import Recipe, load_recipe

# A SAM-type network that trains and exports in seconds.
SMALL_RECIPE: dict[str, Any] = {
    "name": "small",
    "preprocessing": {"pixel_size_mm": 4.0, "size_px": 64, "clip_percentiles": [0, 100]},
    "network": {
        "encoder": {
            "width": 16,
            "depth": 2,
            "heads": 2,
            "patch_px": 4,
            "window_tokens": 4,
            "global_blocks": [1],
            "neck_channels": 8,
            "trained": True,
        },
        "decoder": {"widths": [8, 4], "detail_width": 4},
    },
    "data": {"empty_slices": 0.5, "validation_share": 0.3, "test_share": 0.0},
    "loss": {"scale_weights": [0.2, 0.1]},
    "optimizer": {"learning_rate": 5e-3, "mixed_precision": "no"},
    "schedule": {
        "epochs": 2,
        "warmup_epochs": 0.5,
        "restart_epochs": 1,
        "lowest_learning_rate": 5e-6,
        "batch_size": 4,
        "micro_batch_size": 4,
        "seed": 3,
    },
}


def small_recipe(**changes) -> Recipe:
    return Recipe.model_validate(SMALL_RECIPE | changes)


def lora_recipe(*, dropout: float = 0.5, **schedule) -> Recipe:
    """The small network with LoRA in a frozen encoder. It needs `write_small_pretrained`."""
    network = SMALL_RECIPE["network"]
    encoder = network["encoder"] | {"trained": False, "neck_channels": 16}  # the minimum of SAM
    lora = {"ranks": {"qkv": 4, "lin1": 2}, "dropout": dropout}
    return small_recipe(
        network=network | {"encoder": encoder, "lora": lora},
        schedule=SMALL_RECIPE["schedule"] | schedule,
    )


def write_small_pretrained(path: Path) -> Path:
    """Write random weights in MedSAM's format for the encoder of `lora_recipe`."""
    write_random_pretrained(path, lora_recipe().network.encoder, seed=0)
    return path


def method_on_small_slices() -> Recipe:
    """The recipe of the method, with slices of 4 × 4 tokens and one epoch."""
    recipe = load_recipe("wmh-lora")
    changes = {"epochs": 1, "warmup_epochs": 0.5, "batch_size": 4, "micro_batch_size": 2}
    return recipe.model_copy(
        update={
            "preprocessing": Preprocessing(pixel_size_mm=4, size_px=64, clip_percentiles=(0, 100)),
            "data": recipe.data.model_copy(update={"validation_share": 0.3, "test_share": 0.0}),
            "schedule": recipe.schedule.model_copy(update=changes),
        }
    )


def metadata_of(recipe: Recipe, pretrained: PretrainedIdentity | None = None) -> CheckpointMetadata:
    """Metadata of a finished checkpoint, without training."""
    return CheckpointMetadata(
        recipe=recipe,
        pretrained=pretrained,
        identity="",
        scan_keys={},
        split=Split(training=["a"], validation=["b"], test=[]),
        epoch=1,
        finished=True,
        validation=ValidationDice(mean=0.5, by_site={"": 0.5}),
        provenance=Provenance(
            data="Nothing", parameters=1, trained_parameters=1, training_slices=1, details={}
        ),
    )


def fit_data(folder: Path, recipe: Recipe) -> FitData:
    """All heads of a folder, split as in the recipe."""
    found = find_dataset(folder, recipe.channels, recipe.outputs, recipe.regions)
    split = split_scans(found.scans, recipe.data, recipe.schedule.seed)
    return FitData(found.name, found.scans, split)


def write_toml(path: Path, table: dict[str, Any]) -> Path:
    """Write nested tables. Strings, numbers, booleans and lists are the same in TOML and JSON."""
    lines: list[str] = []

    def write(name: str, values: dict[str, Any]) -> None:
        lines.extend([f"[{name}]"] if name else [])
        plain = {k: v for k, v in values.items() if not isinstance(v, dict) and v is not None}
        lines.extend(f"{key} = {json.dumps(value)}" for key, value in plain.items())
        for key, value in values.items():
            if isinstance(value, dict):
                write(f"{name}.{key}" if name else key, value)

    write("", table)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
