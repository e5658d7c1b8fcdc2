"""Find and read what the options of a command name: scans, masks, label maps and weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from wmh_runtime.cli import console
from wmh_runtime.errors import InputError
from wmh_runtime.text import count_noun
from wmh_train.data.annotated import Dataset
from wmh_train.data.layouts import find_datasets, find_scans
from wmh_train.data.masks_by_name import label_of, with_masks
from wmh_train.fit.stages import StageData
from wmh_train.initial_weights import InitialWeights, read_initial_weights
from wmh_train.loop.distributed import is_main_process
from wmh_train.model.convolutional.vgg16_unet import read_vgg16
from wmh_train.model.pretrained import PretrainedWeights, read_pretrained
from wmh_train.recipe.recipe import Recipe
from wmh_train.synthesis.cohort import Sources, find_images


def find_sources(label_maps: Path, lesion_masks: Path | None) -> Sources:
    """Find what synthetic heads are made from.

    Args:
        label_maps: folder of label maps.
        lesion_masks: folder of masks of real lesions; None: there are none.

    Raises:
        InputError: a folder contains no image.
    """
    masks = find_images(lesion_masks) if lesion_masks is not None else []
    return Sources(find_images(label_maps), masks)


def find_stages(data: Sequence[Path], masks: Sequence[str], recipe: Recipe) -> list[StageData]:
    """Find the scans of each stage of a recipe, and its masks in their own folders.

    Args:
        data: folders or tables of scans.
        masks: STAGE=FOLDER, at least one for each stage.
        recipe: with stages and one output.

    Raises:
        InputError: a stage is unknown or has no masks, the recipe has other outputs, or scans or
            masks are not found.
    """
    names = [stage.name for stage in recipe.stage]
    folders: dict[str, list[Path]] = {name: [] for name in names}
    for one in masks:
        name, separator, folder = one.partition("=")
        if not separator or name not in folders:
            problem = f"does not begin with a stage of the recipe: {', '.join(names)}"
            given = folder if separator else one
            raise InputError(problem, f"Write STAGE={given}.", about=f"--masks {one}")
        folders[name].append(Path(folder))
    for name, own in folders.items():
        if not own:
            raise InputError(
                f"names no masks for the stage {name}",
                f"Add --masks {name}=FOLDER.",
                about="--masks",
            )
    _require_one_output(recipe)
    found = find_scans(data, recipe.channels)
    warn(found.notes)
    stages = []
    for name, own in folders.items():
        masked = with_masks(found.scans, own)
        warn(masked.notes)
        masks_text = " + ".join(map(label_of, own))
        stages.append(StageData(name, masks_text, masked.scans))
    return stages


def find_annotated(data: Sequence[Path], masks: Sequence[str], recipe: Recipe) -> Dataset:
    """Find scans with their masks, and warn of scans that are left out.

    Args:
        data: folders or tables of scans.
        masks: folders of masks that take the place of those in `data`; empty: those in `data`.
        recipe: its channels and outputs are looked for.

    Raises:
        InputError: scans or masks are not found, or `masks` do not fit the outputs of the recipe.
    """
    if masks:
        _require_one_output(recipe)
        found = find_scans(data, recipe.channels)
        masked = with_masks(found.scans, [Path(folder) for folder in masks])
        warn((*found.notes, *masked.notes))
        return replace(found, scans=masked.scans)
    dataset = find_datasets(data, recipe.channels, recipe.outputs, recipe.regions)
    if dataset.unannotated:
        warn(
            [
                f"skipped {count_noun(len(dataset.unannotated), 'scan')} without a reference mask,"
                f" such as {dataset.unannotated[0]}"
            ]
        )
    warn(dataset.notes)
    return dataset


def warn(notes: Iterable[str]) -> None:
    """Print warnings, once for all processes."""
    if is_main_process():
        for note in notes:
            console.print_warning(note)


def read_start(start: str | None) -> InitialWeights | None:
    """Read the weights to start from: of a checkpoint or bundle, by folder or name; None: none."""
    return None if start is None else read_initial_weights(start)


def read_weights(pretrained: Path | None, recipe: Recipe) -> PretrainedWeights | None:
    """Read the pretrained weights of the encoder of a recipe; None: none are given."""
    if pretrained is None:
        return None
    is_vgg16 = recipe.network.kind == "vgg16-unet"
    return read_vgg16(pretrained) if is_vgg16 else read_pretrained(pretrained)


def _require_one_output(recipe: Recipe) -> None:
    if len(recipe.outputs) != 1 or recipe.regions:
        problem = "takes masks of one kind of lesion only, but the recipe has other outputs"
        raise InputError(problem, "Put the masks beside the scans.", about="--masks")
