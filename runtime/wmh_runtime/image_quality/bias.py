"""Slow change of the brightness of white matter over the brain: the bias field.

White matter is divided into blocks. A polynomial of second degree in the position is fitted to the
logarithms of their medians: it follows the coil, but hardly the anatomy.
"""

from __future__ import annotations

import math
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.image_quality.slices import Slices
from wmh_runtime.postprocessing.lesions import box_around

_BLOCK_MM = 12.0
_LEAST_FILLED = 0.15  # of a block
_LEAST_BLOCK_VOXELS = 10
_LEAST_BLOCKS = 30  # for the ten coefficients
_PERCENTILES = (5, 95)  # of the fitted field in the blocks
_DARKEST = 0.05  # of white matter; the logarithm needs a positive value
_SCALE_MM = 60.0  # makes all terms of the polynomial about as large


def bias_percent(slices: Slices) -> float | None:
    """Return by how much the fitted field is brighter at its 95th than at its 5th percentile.

    None: white matter is not known, or there is too little of it.
    """
    level = slices.white_level
    if level is None:
        return None
    medians, positions_mm = _block_medians(slices)
    if len(medians) < _LEAST_BLOCKS:
        return None
    logarithms = np.log(np.maximum(medians / level, _DARKEST))
    terms = _terms((positions_mm - positions_mm.mean(axis=0)) / _SCALE_MM)
    field = terms @ np.linalg.lstsq(terms, logarithms, rcond=None)[0]
    low, high = np.percentile(field, _PERCENTILES)
    return 100 * (math.exp(high - low) - 1)


def _block_medians(slices: Slices) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the medians (n,) and the mean positions (n, 3) of the blocks with enough voxels."""
    box = box_around(slices.white)
    stack, white = slices.stack[box], slices.white[box]
    positions_mm = [
        np.arange(one.start, one.stop) * mm for one, mm in zip(box, slices.spacing_mm, strict=True)
    ]
    blocks = [((one - one[0]) / _BLOCK_MM).astype(np.intp) for one in positions_mm]  # by index
    least = max(_LEAST_BLOCK_VOXELS, _LEAST_FILLED * _BLOCK_MM**3 / math.prod(slices.spacing_mm))
    medians, centers_mm = [np.zeros(0)], [np.zeros((0, 3))]
    for layer in np.unique(blocks[0]):  # one at a time: sorting all voxels is slow
        first, last = np.flatnonzero(blocks[0] == layer)[[0, -1]]
        inside = white[first : last + 1]
        indices = np.nonzero(inside)
        numbers = blocks[1][indices[1]] * (blocks[2][-1] + 1) + blocks[2][indices[2]]
        values = stack[first : last + 1][inside]
        order = np.lexsort((values, numbers))  # by block, and within it by value
        counts = np.bincount(numbers)
        large = np.flatnonzero(counts >= least)
        begins = np.cumsum(counts) - counts
        medians.append(values[order[begins[large] + counts[large] // 2]].astype(np.float64))
        totals = [
            np.bincount(numbers, along[offset + index])
            for along, offset, index in zip(positions_mm, (first, 0, 0), indices, strict=True)
        ]
        centers_mm.append(np.stack(totals, axis=1)[large] / counts[large, None])
    return np.concatenate(medians), np.concatenate(centers_mm)


def _terms(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ten terms of a polynomial of second degree at positions (n, 3): (n, 10)."""
    factors = np.column_stack([np.ones(len(positions)), positions])  # 1, x, y, z
    pairs = combinations_with_replacement(range(4), 2)
    return np.stack([factors[:, a] * factors[:, b] for a, b in pairs], axis=1)
