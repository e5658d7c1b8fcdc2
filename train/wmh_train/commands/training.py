"""Training, calibration and cross-validation, and what else needs a network or synthetic heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from wmh_runtime.cli import console
from wmh_runtime.dataset.bids import REFERENCES
from wmh_runtime.errors import InputError, RecipeError
from wmh_runtime.evaluation.report.writer import SUMMARY_NAME
from wmh_runtime.machine import available_cores
from wmh_runtime.preprocessing.slices.planes import Plane
from wmh_runtime.text import count_noun
from wmh_train.calibration.calibrate import calibrate_checkpoint
from wmh_train.checkpoint import CheckpointMetadata, load_metadata, weights_path
from wmh_train.commands.inputs import (
    find_annotated,
    find_sources,
    find_stages,
    read_start,
    read_weights,
    warn,
)
from wmh_train.commands.teacher import find_taught
from wmh_train.cost import Footprint, estimate_footprint
from wmh_train.cross_validation import cross_validate as train_folds
from wmh_train.cross_validation import report_name
from wmh_train.data.split import split_scans
from wmh_train.data.teacher import find_unlabelled, without_known
from wmh_train.display import FitDisplay, FoldDisplay, print_calibration
from wmh_train.fit.fit import FitData
from wmh_train.fit.fit import fit as train
from wmh_train.fit.input_checks import require_sources, require_start, require_teachable
from wmh_train.fit.stages import fit_stages
from wmh_train.loop.distributed import is_main_process, require_one_process
from wmh_train.model.layers import Layer, network_layers
from wmh_train.model.network import build_network
from wmh_train.recipe.recipe import Recipe, load_recipe
from wmh_train.synthesis.cohort import HeadMaker

_NAMED_TEST_SCANS = 10


def fit(
    recipe: str,
    data: Sequence[Path],
    masks: Sequence[str],
    out: Path,
    start: str | None,
    pretrained: Path | None,
    cache: Path | None,
    label_maps: Path | None,
    lesion_masks: Path | None,
    teacher: str | None,
    unlabelled: Path | None,
) -> None:
    """Train a network and write its checkpoint."""
    if lesion_masks is not None and label_maps is None:
        raise InputError("needs --label-maps", "Give both or none.", about="--lesion-masks")
    if (teacher is None) != (unlabelled is None):
        about = "--unlabelled" if teacher is None else "--teacher"
        other = "--teacher" if teacher is None else "--unlabelled"
        raise InputError(f"needs {other}", "Give both or none.", about=about)
    loaded = load_recipe(recipe)
    weights, initial = read_weights(pretrained, loaded), read_start(start)
    if loaded.stage:
        if label_maps is not None:
            problem = "makes no new heads, because it has stages"
            raise RecipeError(problem, "Leave the label maps out.", about=recipe)
        if teacher is not None:
            problem = "has stages, which learn from masks only"
            raise RecipeError(problem, "Give a recipe without stages.", about=recipe)
        stages = find_stages(data, masks, loaded)
        with console.progress_bar() as bar:
            metadata = fit_stages(
                loaded, stages, out, weights, FitDisplay(bar), cache=cache, initial=initial
            )
    else:
        dataset = find_annotated(data, masks, loaded)
        split = split_scans(dataset.scans, loaded.data, loaded.schedule.seed)
        fit_data = FitData(dataset.name, dataset.scans, split)
        sources = None if label_maps is None else find_sources(label_maps, lesion_masks)
        if teacher is not None and unlabelled is not None:
            require_teachable(loaded)
            require_start(loaded, weights, initial)
            require_sources(loaded, sources)
            held_out = [*split.validation, *split.test]
            scans = without_known(find_unlabelled(unlabelled, loaded.channels), dataset, held_out)
            taught = find_taught(teacher, scans, unlabelled, out, loaded)
            warn(taught.notes)
            fit_data = fit_data.with_taught(taught)
        with console.progress_bar() as bar:
            metadata = train(
                loaded,
                fit_data,
                out,
                weights,
                FitDisplay(bar),
                cache=cache,
                initial=initial,
                sources=sources,
            )
    if is_main_process():
        _print_result(metadata, out)
        if metadata.validation.mean == 0:
            console.print_warning("no lesion is found in the validation scans: train longer")
        options = " ".join(f"--data {path}" for path in data)
        last = f"{loaded.stage[-1].name}=" if loaded.stage else ""
        options += "".join(
            f" --masks {one.removeprefix(last)}" for one in masks if one.startswith(last)
        )
        needs_file = metadata.pretrained is not None  # VGG16 is in the checkpoint
        _print_next(f"wmh-train calibrate {out} {options}", pretrained if needs_file else None)


def synthesise(
    label_maps: Path,
    out: Path,
    lesion_masks: Path | None,
    heads: int,
    seed: int,
    recipe: str,
    workers: int | None,
) -> None:
    """Write a data set of synthetic heads."""
    sources, settings = find_sources(label_maps, lesion_masks), load_recipe(recipe).synthesis
    with (
        HeadMaker(sources, settings, workers or available_cores()) as maker,
        console.progress_bar() as bar,
    ):
        task = bar.add_task("making heads", total=heads)
        maker.write(out, heads=heads, seed=seed, on_written=lambda: bar.advance(task))
    console.print_line(f"{count_noun(heads, 'head')} in {out}, masks in {out / REFERENCES}")


def calibrate(
    checkpoint: Path, data: Sequence[Path], masks: Sequence[str], pretrained: Path | None
) -> None:
    """Select threshold and minimum lesion size on the validation scans of a checkpoint."""
    require_one_process("calibration")
    metadata = load_metadata(checkpoint)
    if not metadata.finished:
        console.print_warning(f"this training is not finished; calibrating epoch {metadata.epoch}")
    dataset = find_annotated(data, masks, metadata.recipe)
    with console.progress_bar() as bar:
        task = bar.add_task("calibrating", total=len(metadata.split.validation))
        calibration = calibrate_checkpoint(
            checkpoint, dataset.scans, pretrained, lambda: bar.advance(task)
        )
    print_calibration(calibration)
    if metadata.recipe.outputs and not all(
        any(point.mean_dice) for point in calibration.operating_points
    ):
        return  # the warning says that it has to be trained longer
    _print_next(f"wmh-export build {checkpoint} --out bundles/{checkpoint.name}", pretrained)


def cross_validate(
    recipe: str,
    data: Sequence[Path],
    masks: Sequence[str],
    out: Path,
    folds: int,
    start: str | None,
    pretrained: Path | None,
    cache: Path | None,
) -> None:
    """Train, calibrate and test one network per fold, and report the scores of all scans."""
    loaded = load_recipe(recipe)
    if loaded.stage:
        problem = "has stages, and cross-validation trains in one"
        raise RecipeError(problem, "Give a recipe without stages.", about=recipe)
    dataset = find_annotated(data, masks, loaded)
    with console.progress_bar() as bar:
        evaluations = train_folds(
            loaded,
            dataset,
            folds,
            out,
            read_weights(pretrained, loaded),
            FoldDisplay(bar),
            cache=cache,
            initial=read_start(start),
        )
    for output, evaluation in evaluations.items():
        dice = evaluation.overall.averages["dice"]
        console.print_line(
            f"{output}: mean Dice {dice.mean:.3f} [{dice.low:.3f}, {dice.high:.3f}] over"
            f" {evaluation.overall.count} scans, each segmented by a network not trained on it."
            f" Report: {out / report_name(output) / SUMMARY_NAME}"
        )


def describe(recipe: str) -> None:
    """Print the cost of a recipe: parameters, checkpoint, operations, memory."""
    loaded = load_recipe(recipe)
    for name, value in _description(loaded, estimate_footprint(loaded)):
        console.print_line(f"{name:<22} {value}")
    with torch.device("meta"):
        layers = network_layers(build_network(loaded))
    for number, layer in enumerate(layers, start=1):
        console.print_line(f"layer {number:<16} {layer.size:>12,}  {layer.name}")
    for stage in loaded.stage:
        console.print_line(_describe_stage(loaded.of_stage(stage.name), layers, stage.name))


def _describe_stage(recipe: Recipe, layers: Sequence[Layer], name: str) -> str:
    count = recipe.optimizer.frozen_layers
    trained = sum(layer.trained_size for layer in layers[count:])
    frozen = sum(layer.size for layer in layers) - trained
    what = f"layers 1 to {count} frozen" if count else "no layers frozen"
    return f"{f'stage {name}':<22} {what}: {trained:,} parameters trained, {frozen:,} not"


def _planes_line(planes: Sequence[Plane]) -> str:
    if len(planes) == 1:
        return planes[0]
    return (
        f"{', '.join(planes)}; about {len(planes)} times as many slices as in one plane, and far"
        " more where slices are thick"
    )


def _description(recipe: Recipe, cost: Footprint) -> list[tuple[str, str]]:
    counts, preprocessing = cost.parameters, recipe.preprocessing
    side_mm = preprocessing.size_px * preprocessing.pixel_size_mm
    parts = {
        "frozen": counts.frozen,
        "encoder, trained": counts.encoder,
        "LoRA": counts.lora,
        "channel adapter": counts.adapter,
        "decoder": counts.decoder,
    }
    return [
        ("recipe", recipe.name),
        ("network", recipe.network.kind),
        (
            "slices",
            f"{preprocessing.size_px} × {preprocessing.size_px} pixels of"
            f" {preprocessing.pixel_size_mm:g} mm, field of view {side_mm:g} mm",
        ),
        ("planes", _planes_line(preprocessing.planes)),
        ("parameters", f"{counts.total:>12,}"),
        *((f"  {part}", f"{count:>12,}") for part, count in parts.items() if count),
        (
            "trained",
            f"{counts.trained:>12,}  {counts.trained / 1e6:.3g} M of {counts.total / 1e6:.3g} M,"
            f" {counts.trained_share:.1%}",
        ),
        ("checkpoint", f"{cost.checkpoint_bytes / 1e6:.1f} MB"),
        ("operations", f"{cost.flops_per_view / 1e9:.1f} GFLOP per view of a slice, as exported"),
        (
            "training memory",
            f"about {cost.training_bytes / 1e9:.1f} GB with micro-batches of"
            f" {recipe.schedule.micro_batch_size} slices",
        ),
        ("training time", "depends on the computer: wmh-train fit shows it after its first steps"),
    ]


def _print_result(metadata: CheckpointMetadata, out: Path) -> None:
    counts = metadata.provenance
    console.print_line(
        f"{counts.trained_parameters:,} of {counts.parameters:,} parameters trained. Best epoch"
        f" {metadata.epoch}, validation Dice {metadata.validation.mean:.3f}."
        f" Checkpoint: {out} ({weights_path(out, metadata).stat().st_size / 1e6:.1f} MB)"
    )
    if test := metadata.split.test:
        names = ", ".join(test[:_NAMED_TEST_SCANS])
        others = ", …" if len(test) > _NAMED_TEST_SCANS else ""
        console.print_line(
            f"{count_noun(len(test), 'test scan')}, not learned from: {names}{others} (all in"
            " checkpoint.json). Segment them with wmh-infer, and score the masks with wmh-eval."
        )


def _print_next(command: str, pretrained: Path | None) -> None:
    option = f" --pretrained {pretrained}" if pretrained is not None else ""
    console.print_line(f"Next: {command}{option}")
