"""How good a scan's mask is for every threshold and minimum lesion size that is tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.evaluation.metrics import lesion_f1, share
from wmh_runtime.evaluation.reference_masks import Reference
from wmh_runtime.overlap import dice
from wmh_runtime.postprocessing.lesions import is_large_enough, label_components
from wmh_runtime.types import Mask

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(3, 19))  # 0.15 to 0.90
MIN_LESIONS_MM3 = (0.0, 3.0, 6.0, 9.0, 15.0, 30.0)


@dataclass(frozen=True)
class Surface:
    """Two metrics over THRESHOLDS × MIN_LESIONS_MM3."""

    dice: NDArray[np.float64]  # (thresholds, minimum sizes)
    lesion_f1: NDArray[np.float64]  # (thresholds, minimum sizes)

    def best(self, lesion_f1_weight: float) -> tuple[int, int]:
        """Return the place of the best threshold and minimum size; of equals, the first.

        Best is the largest (1 − w) · Dice + w · lesion F1.

        Args:
            lesion_f1_weight: w, in [0, 1].
        """
        score = (1 - lesion_f1_weight) * self.dice + lesion_f1_weight * self.lesion_f1
        i, j = np.unravel_index(np.argmax(score), score.shape)
        return int(i), int(j)


def mean_surface(surfaces: Sequence[Surface]) -> Surface:
    """Average the surfaces of several scans, at least one."""
    return Surface(
        dice=np.mean([one.dice for one in surfaces], axis=0),
        lesion_f1=np.mean([one.lesion_f1 for one in surfaces], axis=0),
    )


def agreement_surface(
    probability: NDArray[np.float32], reference: Reference, voxel_volume_mm3: float
) -> Surface:
    """Measure every mask that a probability map can be cut to, as `compare_masks` would.

    Lesions are found in the whole map. What the reference marks as other pathology is removed from
    them after those that are too small, as it is from a mask that was written.

    Args:
        probability: (x, y, z).
        reference: (x, y, z).
        voxel_volume_mm3: of one voxel.
    """
    # Nothing beyond this box is ever labelled or counted.
    box = _box_around((probability >= THRESHOLDS[0]) | reference.lesion)
    probability, ignored = probability[box], reference.ignored[box]
    true = label_components(reference.lesion[box]).ravel()
    true_voxels, true_lesions = float(np.count_nonzero(true)), int(true.max(initial=0))
    shape = len(THRESHOLDS), len(MIN_LESIONS_MM3)
    surface = Surface(dice=np.empty(shape), lesion_f1=np.empty(shape))
    for i, threshold in enumerate(THRESHOLDS):
        found, voxels = _found(probability >= threshold, ignored)
        volumes_mm3 = voxels * voxel_volume_mm3
        sizes = np.bincount(found, minlength=len(voxels))
        hits = np.bincount(found, weights=true > 0, minlength=len(voxels))
        touching = np.unique(np.stack([found, true])[:, (found > 0) & (true > 0)], axis=1)
        for j, min_lesion_mm3 in enumerate(MIN_LESIONS_MM3):
            kept = is_large_enough(volumes_mm3, min_lesion_mm3)
            kept[0] = False  # the background
            touched = touching[:, kept[touching[0]]]  # pairs of found and true lesions
            recall = share(len(np.unique(touched[1])), true_lesions)
            precision = share(len(np.unique(touched[0])), int(kept.sum()))
            surface.dice[i, j] = dice(hits[kept].sum(), float(sizes[kept].sum()), true_voxels)
            surface.lesion_f1[i, j] = lesion_f1(recall, precision)
    return surface


def _found(mask: Mask, ignored: Mask) -> tuple[NDArray[Any], NDArray[np.int_]]:
    """Number the lesions of a mask that remain without what is ignored.

    Returns:
        The number of each voxel, 0 outside; and, for each number, the voxels of the lesion it is
        of, those ignored included: by them its size is judged.
    """
    whole = label_components(mask).ravel()
    voxels = np.bincount(whole)
    if not (mask & ignored).any():
        return whole, voxels
    rest = label_components(mask & ~ignored).ravel()  # a lesion may fall into several
    lesion_of = np.zeros(int(rest.max()) + 1, np.intp)
    lesion_of[rest] = whole
    return rest, voxels[lesion_of]


def _box_around(mask: Mask) -> tuple[slice, ...]:
    """Return the smallest box that holds all of a mask; one voxel where it is empty."""
    extents = (np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    return tuple(slice(x.min(), x.max() + 1) if x.size else slice(1) for x in extents)
