"""How well the probabilities of a network agree with frequencies.

Among the voxels with a probability near 0.7, 70 % should be lesion. Voxels with a very low
probability are left out: they are so many, and so easy, that they would hide all others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.bundle.calibration import LOWEST_PROBABILITY, ReliabilityBin
from wmh_runtime.imageio.reference_masks import Reference

_EDGES = (LOWEST_PROBABILITY, *(0.1 * step for step in range(1, 10)), 1.0)


def count_bins(probability: NDArray[np.float32], reference: Reference) -> NDArray[np.float64]:
    """Count the voxels of a scan by their probability.

    Args:
        probability: (x, y, z), for one output.
        reference: (x, y, z); ignored voxels are not counted.

    Returns:
        (3, bins): number of voxels, sum of their probabilities, number of them in lesions.
    """
    counted = (probability >= LOWEST_PROBABILITY) & ~reference.ignored
    values = probability[counted].astype(np.float64)
    is_lesion = reference.lesion[counted].astype(np.float64)
    return np.stack(
        [
            np.histogram(values, _EDGES, weights=weights)[0]
            for weights in (np.ones_like(values), values, is_lesion)
        ]
    )


def reliability(counts: Sequence[NDArray[np.float64]]) -> list[ReliabilityBin]:
    """Return the reliability curve of all scans together, without empty bins."""
    voxels, probabilities, lesions = np.sum(counts, axis=0)
    return [
        ReliabilityBin(
            voxels=int(count),
            mean_probability=round(float(probability / count), 4),
            lesion_share=round(float(lesion / count), 4),
        )
        for count, probability, lesion in zip(voxels, probabilities, lesions, strict=True)
        if count
    ]
