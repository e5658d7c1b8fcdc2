"""Choosing threshold and minimum lesion size on the validation scans, on their own grids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wmh_runtime.bundle import Output
from wmh_runtime.errors import RecipeError
from wmh_runtime.lesions import is_large_enough, label_components
from wmh_runtime.metrics import dice, lesion_f1
from wmh_runtime.reference import Reference
from wmh_runtime.segmenter import Segmenter
from wmh_runtime.types import Mask, Views
from wmh_train.backend import TorchBackend
from wmh_train.checkpoint import (
    Calibration,
    Choice,
    SurfacePoint,
    load_facts,
    load_network,
    save_facts,
)
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.model.network import WmhNetwork
from wmh_train.recipe import Recipe

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(3, 19))  # 0.15 to 0.90
MIN_LESIONS_MM3 = (0.0, 3.0, 6.0, 9.0, 15.0, 30.0)
_VIEWS: tuple[Views, ...] = (8, 1)
_DICE, _LESION_F1 = 0, 1  # places in the last axis of a surface

Surface = NDArray[np.float64]  # (thresholds, minimum sizes, 2): Dice and lesion F1


def calibrate(
    network: WmhNetwork,
    recipe: Recipe,
    scans: list[AnnotatedScan],
    on_scan: Callable[[], None],
) -> Calibration:
    """Sweep threshold × minimum size, with all eight views and with one.

    The choice maximises (1 − w) · mean Dice + w · mean lesion F1, w the recipe's; of equals, the
    smallest threshold and size.

    Args:
        network: as it was loaded from its checkpoint.
        recipe: of it.
        scans: to choose on: the validation scans.
        on_scan: called after each scan.

    Raises:
        InputError: a scan cannot be read.
    """
    surfaces: dict[Views, list[list[Surface]]] = {views: [] for views in _VIEWS}
    with ExitStack() as stack:
        segmenters = {
            views: _segmenter(
                recipe, stack.enter_context(TorchBackend(network, recipe, views=views))
            )
            for views in _VIEWS
        }
        for scan in scans:
            channels, references = scan.load()
            for views, segmenter in segmenters.items():
                results = segmenter.segment(*channels).results
                surfaces[views].append(
                    [
                        agreement_surface(one.probability, true, channels[0].voxel_volume_mm3)
                        for one, true in zip(results, references, strict=True)
                    ]
                )
            on_scan()
    means = {views: np.mean(surfaces[views], axis=0) for views in _VIEWS}  # (K, thresholds, …)
    weight = recipe.calibration.lesion_f1_weight
    return Calibration(
        choices=[_choice(views, recipe.outputs, means[views], weight) for views in _VIEWS],
        scans=len(scans),
        lesion_f1_weight=weight,
        surface=[
            point
            for views in _VIEWS
            for name, mean in zip(recipe.outputs, means[views], strict=True)
            for point in _points(views, name, mean)
        ],
    )


def calibrate_checkpoint(
    folder: Path, scans: Iterable[AnnotatedScan], base: Path | None, on_scan: Callable[[], None]
) -> Calibration:
    """Calibrate a checkpoint as it lies on disk and write the choice into it.

    Args:
        folder: of the checkpoint.
        scans: among them its validation scans.
        base: the weights that its frozen encoder was trained on.
        on_scan: called after each scan.

    Raises:
        RecipeError: the checkpoint cannot be loaded, or a validation scan is not there.
        InputError: a scan or the base cannot be read.
    """
    facts = load_facts(folder)
    by_name = {scan.name: scan for scan in scans}
    missing = [name for name in facts.split.validation if name not in by_name]
    if missing:
        raise RecipeError(
            f"{len(missing)} of the checkpoint's validation scans are not there,"
            f" {missing[0]} first",
            "Give the data it was trained on.",
            about=folder,
        )
    network = load_network(folder, facts, base)
    if torch.cuda.is_available():
        network.cuda()
    validation = [by_name[name] for name in facts.split.validation]
    chosen = calibrate(network, facts.recipe, validation, on_scan)
    save_facts(folder, facts.model_copy(update={"calibration": chosen}))
    return chosen


def _segmenter(recipe: Recipe, backend: TorchBackend) -> Segmenter:
    """Make a segmenter whose probabilities are wanted, not its masks."""
    uncut = [Output(name=name, threshold=1, min_lesion_mm3=0) for name in recipe.outputs]
    return Segmenter(recipe.preparation, uncut, backend)


def agreement_surface(
    probability: NDArray[np.float32], reference: Reference, voxel_volume_mm3: float
) -> Surface:
    """Return Dice and lesion F1 for every threshold and minimum size, one labelling a threshold.

    Args:
        probability: (x, y, z).
        reference: (x, y, z); its ignored voxels are no one's lesion.
        voxel_volume_mm3: of one voxel.

    Returns:
        float64 (len(THRESHOLDS), len(MIN_LESIONS_MM3), 2).
    """
    probability = np.where(reference.ignored, np.float32(0), probability)
    # Nothing beyond this box is ever labelled or counted.
    box = _box_around((probability >= THRESHOLDS[0]) | reference.lesion)
    probability, true = probability[box], label_components(reference.lesion[box]).ravel()
    true_voxels, true_lesions = float(np.count_nonzero(true)), int(true.max(initial=0))
    surface = np.empty((len(THRESHOLDS), len(MIN_LESIONS_MM3), 2))
    for i, threshold in enumerate(THRESHOLDS):
        found = label_components(probability >= threshold).ravel()
        sizes = np.bincount(found, minlength=1)
        hits = np.bincount(found, weights=true > 0, minlength=len(sizes))
        touching = np.unique(np.stack([found, true])[:, (found > 0) & (true > 0)], axis=1)
        for j, min_lesion_mm3 in enumerate(MIN_LESIONS_MM3):
            kept = is_large_enough(sizes * voxel_volume_mm3, min_lesion_mm3)
            kept[0] = False  # the background
            touched = touching[:, kept[touching[0]]]  # pairs of found and true lesions
            recall = len(np.unique(touched[1])) / true_lesions if true_lesions else 1.0
            precision = len(np.unique(touched[0])) / kept.sum() if kept.any() else 1.0
            surface[i, j, _DICE] = dice(hits[kept].sum(), float(sizes[kept].sum()), true_voxels)
            surface[i, j, _LESION_F1] = lesion_f1(recall, precision)
    return surface


def _box_around(mask: Mask) -> tuple[slice, ...]:
    """Return the smallest box that holds all of a mask; one voxel where it is empty."""
    extents = (np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    return tuple(slice(x.min(), x.max() + 1) if x.size else slice(1) for x in extents)


def _choice(views: Views, names: list[str], means: NDArray[np.float64], weight: float) -> Choice:
    best = [best_of(mean, weight) for mean in means]
    return Choice(
        views=views,
        outputs=[
            Output(name=name, threshold=THRESHOLDS[i], min_lesion_mm3=MIN_LESIONS_MM3[j])
            for name, (i, j) in zip(names, best, strict=True)
        ],
        mean_dice=[float(mean[i, j, _DICE]) for mean, (i, j) in zip(means, best, strict=True)],
        mean_lesion_f1=[
            float(mean[i, j, _LESION_F1]) for mean, (i, j) in zip(means, best, strict=True)
        ],
    )


def best_of(mean: Surface, lesion_f1_weight: float) -> tuple[int, int]:
    """Return the place of the best threshold and minimum size; of equals, the first."""
    score = (1 - lesion_f1_weight) * mean[..., _DICE] + lesion_f1_weight * mean[..., _LESION_F1]
    i, j = np.unravel_index(np.argmax(score), score.shape)
    return int(i), int(j)


def _points(views: Views, name: str, mean: Surface) -> Iterator[SurfacePoint]:
    for i, threshold in enumerate(THRESHOLDS):
        for j, min_lesion_mm3 in enumerate(MIN_LESIONS_MM3):
            yield SurfacePoint(
                views=views,
                output=name,
                threshold=threshold,
                min_lesion_mm3=min_lesion_mm3,
                mean_dice=round(float(mean[i, j, _DICE]), 4),
                mean_lesion_f1=round(float(mean[i, j, _LESION_F1]), 4),
            )
