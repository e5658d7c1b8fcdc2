"""Choosing threshold and minimum lesion size on the validation scans, on their own grids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.bundle import Output
from wmh_runtime.errors import RecipeError
from wmh_runtime.lesions import is_large_enough, label_components
from wmh_runtime.metrics import dice
from wmh_runtime.segmenter import Segmenter
from wmh_train.backend import TorchBackend
from wmh_train.checkpoint import Calibration, CheckpointFacts, load_network
from wmh_train.datasets import find_subjects, load_subject

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(3, 19))  # 0.15 to 0.90
MIN_LESIONS_MM3 = (0.0, 3.0, 6.0, 9.0, 15.0, 30.0)


def calibrate(
    checkpoint: Path, facts: CheckpointFacts, data: Path, on_scan: Callable[[], None]
) -> Calibration:
    """Sweep threshold × minimum size with all eight views; the highest mean Dice is chosen.

    Args:
        checkpoint: folder of the trained network.
        facts: of it.
        data: folder that holds its validation scans.
        on_scan: called after each scan.

    Raises:
        RecipeError: a validation scan is not there.
    """
    recipe = facts.recipe
    subjects = {s.name: s for s in find_subjects(data, recipe.channels, recipe.outputs)}
    missing = [name for name in facts.validation_scans if name not in subjects]
    if missing:
        raise RecipeError(
            f"lacks {len(missing)} of the checkpoint's validation scans, {missing[0]} first",
            "Give the folder it was trained on.",
            about=data,
        )
    uncut = [Output(name=name, threshold=1, min_lesion_mm3=0) for name in recipe.outputs]
    surfaces: list[list[NDArray[np.float64]]] = [[] for _ in uncut]
    with TorchBackend(load_network(checkpoint, facts), recipe) as backend:
        segmenter = Segmenter(recipe.preparation, uncut, backend)
        for name in facts.validation_scans:
            scans, references = load_subject(subjects[name])
            results = segmenter.segment(*scans).results
            for k, (result, reference) in enumerate(zip(results, references, strict=True)):
                surfaces[k].append(
                    dice_surface(result.probability, reference, scans[0].voxel_volume_mm3)
                )
            on_scan()
    means = [np.mean(surface, axis=0) for surface in surfaces]
    return Calibration(
        outputs=[_best(name, mean) for name, mean in zip(recipe.outputs, means, strict=True)],
        scans=len(facts.validation_scans),
        mean_dice=[float(mean.max()) for mean in means],
        surface={
            name: [
                (threshold, size, round(float(mean[i, j]), 4))
                for i, threshold in enumerate(THRESHOLDS)
                for j, size in enumerate(MIN_LESIONS_MM3)
            ]
            for name, mean in zip(recipe.outputs, means, strict=True)
        },
    )


def dice_surface(
    probability: NDArray[np.float32], reference: NDArray[np.bool_], voxel_volume_mm3: float
) -> NDArray[np.float64]:
    """Return the Dice for every threshold and minimum size, with one labelling a threshold.

    Args:
        probability: (x, y, z).
        reference: (x, y, z).
        voxel_volume_mm3: of one voxel.

    Returns:
        float64 (len(THRESHOLDS), len(MIN_LESIONS_MM3)).
    """
    true_voxels = reference.sum()
    box = _box_around(probability >= THRESHOLDS[0])  # nothing beyond it is ever labelled
    probability, reference = probability[box], reference[box]
    surface = np.empty((len(THRESHOLDS), len(MIN_LESIONS_MM3)))
    for i, threshold in enumerate(THRESHOLDS):
        labels = label_components(probability >= threshold)
        sizes = np.bincount(labels.ravel())
        hits = np.bincount(labels.ravel(), weights=reference.ravel())
        sizes_mm3 = sizes * voxel_volume_mm3
        for j, min_lesion_mm3 in enumerate(MIN_LESIONS_MM3):
            kept = is_large_enough(sizes_mm3, min_lesion_mm3)
            kept[0] = False  # the background
            surface[i, j] = dice(hits[kept].sum(), sizes[kept].sum(), true_voxels)
    return surface


def _box_around(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the smallest box that holds all of a mask; one voxel where it is empty."""
    extents = (np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    return tuple(slice(x.min(), x.max() + 1) if x.size else slice(1) for x in extents)


def _best(name: str, mean_dice: NDArray[np.float64]) -> Output:
    """Choose the highest; of equals, the smallest threshold and size."""
    i, j = np.unravel_index(np.argmax(mean_dice), mean_dice.shape)
    return Output(name=name, threshold=THRESHOLDS[i], min_lesion_mm3=MIN_LESIONS_MM3[j])
