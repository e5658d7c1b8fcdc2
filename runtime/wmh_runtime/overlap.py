"""The Dice coefficient."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray


def dice(common: float, first: float, second: float) -> float:
    """Return the Dice coefficient 2 |A ∩ B| / (|A| + |B|) from voxel counts.

    The result for two empty masks is 1.0.

    Args:
        common: |A ∩ B|.
        first: |A|.
        second: |B|.
    """
    return 2 * common / (first + second) if first + second else 1.0


def dice_of_masks(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the Dice coefficient of two masks of the same shape. Values other than 0 are mask."""
    a, b = first != 0, second != 0
    return dice(float((a & b).sum()), float(a.sum()), float(b.sum()))
