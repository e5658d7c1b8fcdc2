"""How much one image of a head tells about another one: are both of the same head, in place?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.types import Floats, Mask

_BINS = 32
_ENOUGH_VOXELS = 200_000  # more do not change the result, but take time


def shared_information(one: Floats, other: Floats, where: Mask) -> float:
    """Return the mutual information of two images, as a share of the lower entropy.

    The intensities of each image are divided into 32 classes of about equally many voxels. So the
    result does not depend on their scale, and contrasts may differ. The mean of what images of
    noise share by chance is subtracted (Miller 1955).

    Args:
        one: any shape.
        other: the same shape.
        where: the same shape; the voxels that count. Of many, some at equal distances are taken.

    Returns:
        0 to 1: 1 if one of them follows from the other; 0 if an image is constant there.
    """
    every = max(1, np.count_nonzero(where) // _ENOUGH_VOXELS)
    classes = [_classes(image[where][::every]) for image in (one, other)]
    joint = np.zeros((_BINS, _BINS))
    np.add.at(joint, tuple(classes), 1)
    entropies = [_entropy(joint.sum(axis=axis)) for axis in (0, 1)]
    if min(entropies) == 0:
        return 0.0
    shared = sum(entropies) - _entropy(joint)
    shared -= (_BINS - 1) ** 2 / (2 * joint.sum())  # what few voxels of noise share by chance
    return float(np.clip(shared / min(entropies), 0, 1))


def _classes(values: Floats) -> NDArray[np.intp]:
    """Return the class of each value, 0 to 31."""
    if not values.size:
        return np.zeros(0, np.intp)
    limits = np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1])
    return np.searchsorted(limits, values, side="right")


def _entropy(counts: NDArray[np.float64]) -> float:
    """Return the entropy of a histogram, in nats."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum()) + 0.0
