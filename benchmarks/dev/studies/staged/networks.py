"""The networks of the study, and how each is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.dev.studies.staged.heads import HeadCounts, expert_heads
from wmh_train.checkpoint import CheckpointMetadata
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.masks_by_name import with_masks
from wmh_train.data.split import split_scans
from wmh_train.fit.fit import FitData, FitListener, fit
from wmh_train.fit.stages import StageData, fit_stages
from wmh_train.model.pretrained import PretrainedWeights
from wmh_train.recipe.recipe import Recipe, load_recipe

RECIPE = "m3sl-small"
_GOLD = "gold"
_SMALL_VIT: Mapping[str, Any] = {
    "encoder": {
        "width": 128,
        "depth": 4,
        "heads": 2,
        "patch_px": 16,
        "window_tokens": 5,
        "global_blocks": [1, 3],
        "neck_channels": 64,
        "trained": True,
    },
    "decoder": {"widths": [64, 48, 24, 12], "detail_width": 8},
}
_SCALE_WEIGHTS = [0.2, 0.2, 0.1, 0.1]  # of the small ViT; U-Nets have one scale
_VGG16_CONVOLUTIONS = 13
# Fewer slices than the others learn from, 30 % of them: each costs many times as much.
_VGG16_EPOCHS, _VGG16_EPOCH_SLICES = 8, 600


@dataclass(frozen=True)
class Variant:
    """A network and its way of learning."""

    name: str
    network: Mapping[str, Any]  # table of the recipe
    is_staged: bool
    needs_vgg16: bool = False  # its encoder has weights from photographs and is frozen


VARIANTS = (
    Variant("unet-m3sl", {"monai_unet": {"widths": [16, 16, 32, 64, 128]}}, is_staged=True),
    Variant("unet-gold", {"monai_unet": {"widths": [16, 16, 32, 64, 128]}}, is_staged=False),
    Variant("vit-m3sl", _SMALL_VIT, is_staged=True),
    Variant("vit-gold", _SMALL_VIT, is_staged=False),
    Variant(
        "vgg16-transfer",
        {"vgg16_unet": {"decoder_widths": [128, 64, 32, 16]}},
        is_staged=False,
        needs_vgg16=True,
    ),
)


def recipe_of(variant: Variant, base: Recipe | None = None) -> Recipe:
    """Return the recipe of a network; without stages if it learns from masks of experts only."""
    settings = (base or load_recipe(RECIPE)).model_dump()
    settings |= {"name": variant.name, "network": variant.network}
    if variant.network is _SMALL_VIT:
        settings["loss"]["scale_weights"] = _SCALE_WEIGHTS
    if not variant.is_staged:
        gold = next(stage for stage in settings["stage"] if stage["name"] == _GOLD)
        settings["data"] |= gold["data"]
        settings["stage"] = []
    if variant.needs_vgg16:
        settings["optimizer"]["frozen_layers"] = _VGG16_CONVOLUTIONS
        settings["data"]["epoch_slices"] = _VGG16_EPOCH_SLICES
        settings["schedule"] |= {"epochs": _VGG16_EPOCHS, "restart_epochs": _VGG16_EPOCHS - 0.5}
    return Recipe.model_validate(settings)


def train(
    variant: Variant,
    recipe: Recipe,
    heads: list[AnnotatedScan],
    counts: HeadCounts,
    masks: Path,
    out: Path,
    vgg16: PretrainedWeights | None,
    listener: FitListener,
) -> CheckpointMetadata:
    """Train a network, or return the finished one.

    Args:
        variant: the network.
        recipe: its recipe.
        heads: of the training scanners, with true masks.
        counts: how many of the heads have masks of experts.
        masks: folder with a subfolder of masks for each method, and the consensus.
        out: folder of all networks; preprocessed slices are shared.
        vgg16: weights from photographs, for the variant that needs them.
        listener: receives the progress.
    """
    gold = expert_heads(heads, counts)
    folder, cache = out / variant.name, out / "cache"
    if not variant.is_staged:
        split = split_scans(gold, recipe.data, recipe.schedule.seed)
        weights = vgg16 if variant.needs_vgg16 else None
        data = FitData("heads with masks of experts", tuple(gold), split)
        return fit(recipe, data, folder, weights, listener, cache=cache)
    methods = sorted(one for one in masks.iterdir() if one.is_dir() and one.name != "consensus")
    stages = [
        StageData("bronze", "three methods", with_masks(heads, methods).scans),
        StageData("silver", "consensus", with_masks(heads, [masks / "consensus"]).scans),
        StageData(_GOLD, "experts", tuple(gold)),
    ]
    return fit_stages(recipe, stages, folder, None, listener, cache=cache)
