"""Mixture: fluid, tissue and lesions as Gaussians, with neighbors that tend to be alike.

Expectation maximization with a Markov random field: Zhang, Brady and Smith 2001, doi
10.1109/42.906424. The field is approximated by its mean (Van Leemput et al. 1999, doi
10.1109/42.811270): the prior of a voxel follows from the probabilities of its neighbors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from wmh_runtime.types import Mask
from wmh_train.bronze.brain import Brain

_MEANS = (0.25, 1.0, 1.6)  # at the start, relative to white matter: fluid, tissue, lesions
_SPREADS = (0.15, 0.12, 0.2)
_LEAST_SPREAD = 0.03
_LESION_ABOVE = 0.25  # the mean of lesions stays this far above that of tissue
_NEIGHBORS = 0.4  # strength of the field, for each of six neighbors
_ITERATIONS = 12
_STEP_MM = 1.0  # neighbors that are further away count less


def segment_mixture(brain: Brain) -> Mask:
    """Return the voxels inside the brain that most likely belong to the class of lesions."""
    values, inside = brain.intensity[brain.inside].astype(np.float64), brain.inside
    means, spreads = np.array(_MEANS), np.array(_SPREADS)
    shares = np.full((3, 1), 1 / 3)  # of the classes; later of each voxel, from its neighbors
    for _ in range(_ITERATIONS):
        likelihood = np.exp(-0.5 * ((values - means[:, None]) / spreads[:, None]) ** 2)
        posterior = shares * likelihood / spreads[:, None] + 1e-12
        posterior /= posterior.sum(axis=0)
        weights = posterior.sum(axis=1)
        means = posterior @ values / weights
        means[2] = max(means[2], means[1] + _LESION_ABOVE)
        variances = np.array(
            [p @ (values - mean) ** 2 for p, mean in zip(posterior, means, strict=True)]
        )
        spreads = np.maximum(np.sqrt(variances / weights), _LEAST_SPREAD)
        field = np.stack([_neighbors(p, inside, brain.spacing_mm) for p in posterior])
        shares = (weights / weights.sum())[:, None] * np.exp(_NEIGHBORS * field)
        shares /= shares.sum(axis=0)
    lesions = np.zeros_like(inside)
    lesions[inside] = posterior.argmax(axis=0) == 2
    return lesions


def _neighbors(
    probability: NDArray[np.float64], inside: Mask, spacing_mm: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Sum the probabilities of the six neighbors, weighted by 1 mm / distance."""
    volume = np.zeros(inside.shape)
    volume[inside] = probability
    total = np.zeros(inside.shape)
    for axis, mm in enumerate(spacing_mm):
        total += min(1.0, _STEP_MM / mm) * correlate1d(volume, [1, 0, 1], axis, mode="constant")
    return total[inside]
