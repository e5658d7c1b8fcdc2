"""Which training a checkpoint is of: a hash of all inputs, and what differs from another one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from wmh_runtime.errors import RecipeError
from wmh_runtime.schema import json_without_defaults
from wmh_train.checkpoint import CheckpointMetadata, has_checkpoint, load_metadata
from wmh_train.data.split import Split
from wmh_train.initial_weights import InitialWeights
from wmh_train.model.pretrained import PretrainedWeights
from wmh_train.recipe.recipe import Recipe
from wmh_train.synthesis.cohort import Sources


def training_identity(
    recipe: Recipe,
    split: Split,
    pretrained: PretrainedWeights | None,
    keys: dict[str, str],
    initial: InitialWeights | None = None,
    sources: Sources | None = None,
) -> str:
    """Return a hash of all inputs of a training, without default values.

    Args:
        recipe: all settings.
        split: names of the scans.
        pretrained: weights of the encoder, if any.
        keys: hashes of scan and masks by name.
        initial: weights of another training to start from, if any.
        sources: of new heads, if any.
    """
    parts = (
        json_without_defaults(recipe),
        json_without_defaults(split),
        pretrained.identity.sha256 if pretrained is not None else "",
        *(f"{name} {key}" for name, key in sorted(keys.items())),
        *([initial.identity.sha256] if initial is not None else []),
        *([sources.sha256] if sources is not None else []),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def is_finished(
    out: Path, identity: str, recipe: Recipe, split: Split, keys: dict[str, str]
) -> bool:
    """Return whether a folder contains this training, finished.

    Raises:
        RecipeError: it contains another one.
    """
    if not has_checkpoint(out):
        return False
    metadata = load_metadata(out)
    if metadata.identity != identity:
        difference = _describe_difference(metadata, recipe, split, keys)
        raise RecipeError(
            f"contains a checkpoint of another training: {difference}",
            "Use another folder.",
            about=out,
        )
    return metadata.finished


def _describe_difference(
    metadata: CheckpointMetadata, recipe: Recipe, split: Split, keys: dict[str, str]
) -> str:
    """Describe the first difference between the training of a checkpoint and this one."""
    before, now = (_flatten(one.model_dump(mode="json")) for one in (metadata.recipe, recipe))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            return f"its {key} is {before.get(key)}, now {now.get(key)}"
    if metadata.split != split:
        return "its scans or their split are different"
    if metadata.scan_keys != keys:
        return "the content of a scan or mask has changed"
    return "its pretrained or initial weights, or its label maps, are different"


def _flatten(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested tables, with keys such as schedule.epochs."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        flat |= _flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat
