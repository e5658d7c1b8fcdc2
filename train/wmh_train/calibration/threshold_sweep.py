"""The threshold sweep: scores of a mask for all thresholds and minimum lesion sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.evaluation.metrics import lesion_f1, ratio
from wmh_runtime.imageio.reference_masks import Reference
from wmh_runtime.overlap import dice
from wmh_runtime.postprocessing.lesions import (
    box_around,
    is_large_enough,
    is_mostly_in,
    label_components,
)
from wmh_runtime.types import Mask
from wmh_train.data.annotated import group_by

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(3, 19))  # 0.15 to 0.90
MIN_LESIONS_MM3 = (0.0, 3.0, 6.0, 9.0, 15.0, 30.0)


@dataclass(frozen=True)
class ThresholdSweep:
    """Dice and lesion F1 for each combination of THRESHOLDS and MIN_LESIONS_MM3."""

    dice: NDArray[np.float64]  # (thresholds, minimum sizes)
    lesion_f1: NDArray[np.float64]  # (thresholds, minimum sizes)
    has_lesions: bool = True  # in the reference

    def best(self) -> tuple[int, int]:
        """Return the indices of the threshold and minimum size with the largest Dice.

        Of equal values, the first one is used.
        """
        i, j = np.unravel_index(np.argmax(self.dice), self.dice.shape)
        return int(i), int(j)


def mean_of_sites(sweeps: Sequence[ThresholdSweep], sites: Sequence[str]) -> ThresholdSweep:
    """Return the mean over the sites of the means over their scans.

    So many synthetic heads do not decide alone. Scans without lesions are left out,
    unless there are no others: a single false lesion changes their Dice from 1 to 0.

    Args:
        sweeps: of at least one scan.
        sites: of each scan.
    """
    scans = range(len(sweeps))
    kept = [scan for scan in scans if sweeps[scan].has_lesions] or scans
    by_site = group_by([sites[scan] for scan in kept], [sweeps[scan] for scan in kept])
    return _mean([_mean(of_site) for of_site in by_site.values()])


def _mean(sweeps: Sequence[ThresholdSweep]) -> ThresholdSweep:
    return ThresholdSweep(
        dice=np.mean([sweep.dice for sweep in sweeps], axis=0),
        lesion_f1=np.mean([sweep.lesion_f1 for sweep in sweeps], axis=0),
    )


def sweep_thresholds(
    probability: NDArray[np.float32],
    reference: Reference,
    voxel_volume_mm3: float,
    brain: Mask | None = None,
) -> ThresholdSweep:
    """Score the mask of each combination, with the same result as `compare_masks`.

    Small lesions and those outside the brain are removed first, then voxels that the reference
    marks as other pathology. This is the order for a mask that `wmh-infer` wrote.

    Args:
        probability: probability map, (x, y, z).
        reference: reference masks, (x, y, z).
        voxel_volume_mm3: volume of one voxel.
        brain: (x, y, z), as found by the network; None: not known.
    """
    # All voxels outside this box are background in prediction and reference.
    box = box_around((probability >= THRESHOLDS[0]) | reference.lesion)
    probability, ignored = probability[box], reference.ignored[box]
    brain = None if brain is None else brain[box]
    true = label_components(reference.lesion[box]).ravel()
    true_voxels, true_lesions = float(np.count_nonzero(true)), int(true.max(initial=0))
    shape = len(THRESHOLDS), len(MIN_LESIONS_MM3)
    sweep = ThresholdSweep(np.empty(shape), np.empty(shape), has_lesions=true_lesions > 0)
    for i, threshold in enumerate(THRESHOLDS):
        predicted, voxels = _label_lesions(probability >= threshold, ignored, brain)
        volumes_mm3 = voxels * voxel_volume_mm3
        sizes = np.bincount(predicted, minlength=len(voxels))
        hits = np.bincount(predicted, weights=true > 0, minlength=len(voxels))
        touching = np.unique(np.stack([predicted, true])[:, (predicted > 0) & (true > 0)], axis=1)
        for j, min_lesion_mm3 in enumerate(MIN_LESIONS_MM3):
            kept = is_large_enough(volumes_mm3, min_lesion_mm3)
            kept[0] = False  # the background
            touched = touching[:, kept[touching[0]]]  # pairs of predicted and true lesions
            recall = ratio(len(np.unique(touched[1])), true_lesions)
            precision = ratio(len(np.unique(touched[0])), int(kept.sum()))
            sweep.dice[i, j] = dice(hits[kept].sum(), float(sizes[kept].sum()), true_voxels)
            sweep.lesion_f1[i, j] = lesion_f1(recall, precision)
    return sweep


def _label_lesions(
    mask: Mask, ignored: Mask, brain: Mask | None
) -> tuple[NDArray[Any], NDArray[np.int_]]:
    """Label the lesions of a mask without its ignored voxels and without those outside the brain.

    Returns:
        The label of each voxel, 0 for background; and for each label the number of voxels of its
        whole lesion, including ignored voxels. The minimum lesion size applies to the whole lesion.
    """
    whole = label_components(mask).ravel()
    voxels = np.bincount(whole)
    if brain is not None:
        whole *= is_mostly_in(brain.ravel(), whole, voxels)[whole]
        mask = (whole > 0).reshape(mask.shape)
    if not (mask & ignored).any():
        return whole, voxels
    parts = label_components(mask & ~ignored).ravel()  # a lesion may split into several parts
    lesion_of = np.zeros(int(parts.max()) + 1, np.intp)
    lesion_of[parts] = whole
    return parts, voxels[lesion_of]
