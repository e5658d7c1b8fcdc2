"""The labels of all reference masks of a slice in one array, two bits for each mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def packed_dtype(targets: int) -> np.dtype[Any]:
    """Return the smallest type with two bits for each target."""
    return np.min_scalar_type(4**targets - 1)


def pack(targets: NDArray[np.uint8]) -> NDArray[Any]:
    """Pack (n, K, S, S) of 0, 1 and 2 to (n, S, S): less than a third for seven targets."""
    count = targets.shape[1]
    packed = np.zeros((len(targets), *targets.shape[2:]), packed_dtype(count))
    for k in range(count):
        packed |= targets[:, k].astype(packed.dtype) << np.array(2 * k, packed.dtype)
    return packed


def unpack(packed: NDArray[Any], count: int) -> NDArray[np.uint8]:
    """Undo `pack` for K = `count`."""
    shifts = np.arange(0, 2 * count, 2, dtype=packed.dtype)[:, None, None]
    return ((packed[:, None] >> shifts) & np.array(3, packed.dtype)).astype(np.uint8)
