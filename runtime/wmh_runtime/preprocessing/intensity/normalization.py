"""Intensity normalization: the same intensity scale for every scanner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.preprocessing.intensity.white_matter import find_levels
from wmh_runtime.types import Floats, Mask

_INNER_PERCENTILES = (2, 98)
_MARGIN = 1.0  # inner ranges beyond the inner percentiles; tissue is hardly brighter or darker
_HIGHEST_OF_WHITE = 3.0  # times white matter; lesions reach about 2, fat without suppression 4
_MIN_NEIGHBORS = 7  # of 8 that are not extreme; fewer, and it is no single damaged voxel


def normalize(
    stack: Floats, head: Mask, background: Mask, clip_percentiles: tuple[float, float]
) -> Floats:
    """Clip intensities to percentiles of the head, then z-score them; 0 outside the head.

    Single voxels with an extreme intensity are damaged. Before, they get the median of their
    neighbors: clipped only, they would look like small lesions.

    Background in the head, such as a removed fissure or a hole, has no intensity of its own: in a
    z-scored scan it may be as bright as the average. It counts as the lowest intensity, as it is
    in a scan whose background is dark.

    Args:
        stack: (slices, rows, columns), any intensity scale.
        head: same shape, with at least one voxel that is not background.
        background: same shape; constant, not measured.
        clip_percentiles: lower and upper, in [0, 100], of the measured intensities.

    Returns:
        float32, same shape as the stack; mean 0 and standard deviation 1 in the head, or all 0
        if the head has a single intensity.
    """
    inside, _, _ = _clipped(stack, head, background, clip_percentiles)
    inside -= inside.mean()
    spread = np.sqrt(np.square(inside).mean())
    normalized = np.zeros(stack.shape, np.float32)
    if spread > 0:
        inside /= spread
        normalized[head] = inside
    return normalized


def normalize_to_percentiles(
    stack: Floats, head: Mask, background: Mask, clip_percentiles: tuple[float, float]
) -> Floats:
    """Scale intensities so that two percentiles of the head are 0 and 1; 0 outside the head.

    Damaged voxels and background are treated as by `normalize`.

    Args:
        stack: (slices, rows, columns), any intensity scale.
        head: same shape, with at least one voxel that is not background.
        background: same shape; constant, not measured.
        clip_percentiles: lower and upper, in [0, 100], of the measured intensities.

    Returns:
        float32, same shape as the stack, in [0, 1]; all 0 if both percentiles are equal.
    """
    inside, low, high = _clipped(stack, head, background, clip_percentiles)
    normalized = np.zeros(stack.shape, np.float32)
    if high > low:
        inside -= low
        inside /= high - low
        normalized[head] = inside
    return normalized


def normalize_to_white_matter(
    stack: Floats, head: Mask, background: Mask, spacing_mm: tuple[float, float, float]
) -> Floats:
    """Scale intensities so that dark regions are 0 and white matter is 1; 0 outside the head.

    Damaged voxels and background are treated as by `normalize`. Unlike z-scores, the result does
    not depend on how bright fat and skin are, and how much of them and of the neck is in the image.

    Args:
        stack: (slices, rows, columns), slices from bottom to top, any intensity scale.
        head: same shape, with at least one voxel that is not background.
        background: same shape; constant, not measured.
        spacing_mm: along slices, rows and columns.

    Returns:
        float32, same shape as the stack, in [0, 3]; all 0 if the head has a single intensity.
    """
    known = _measured(stack, head, background)
    repaired = _repair(stack, known)
    dark, white = find_levels(repaired, head, known, spacing_mm)
    normalized = np.zeros(stack.shape, np.float32)
    if white > dark:
        for out, one, here in zip(normalized, repaired, known, strict=True):
            inside = one[here].astype(np.float64)  # of one slice at a time
            out[here] = np.clip((inside - dark) / (white - dark), 0, _HIGHEST_OF_WHITE)
    return normalized


def _clipped(
    stack: Floats, head: Mask, background: Mask, percentiles: tuple[float, float]
) -> tuple[NDArray[np.float64], float, float]:
    """Repair the voxels of the head, and clip them to percentiles of those that were measured.

    Returns:
        The voxels of the head, (n,), and the lowest and highest value that they may have.
    """
    known = _measured(stack, head, background)
    repaired = _repair(stack, known)
    low, high = map(float, np.percentile(repaired[known], percentiles, overwrite_input=True))
    inside = repaired[head].astype(np.float64)  # changed in place: it may be as large as the scan
    np.clip(inside, low, high, out=inside)
    inside[~known[head]] = low
    return inside, low, high


def _measured(stack: Floats, head: Mask, background: Mask) -> Mask:
    """Return the voxels of the head that are neither background nor holes of its value."""
    unknown = head & background
    if unknown.any():
        unknown |= head & (stack == np.median(stack[unknown]))
    return head & ~unknown


def _repair(stack: Floats, head: Mask) -> Floats:
    """Give single extreme voxels of the head the median of their neighbors in the slice."""
    inside = stack[head]
    low, high = map(float, np.percentile(inside, _INNER_PERCENTILES, overwrite_input=True))
    del inside  # nearly as large as the stack
    margin = _MARGIN * (high - low)
    extreme = (stack < low - margin) | (stack > high + margin)
    slices, rows, columns = np.nonzero(extreme & head)
    if slices.size == 0:
        return stack
    beside = np.mgrid[-1:2, -1:2].reshape(2, 9, 1)
    at = (
        slices,
        np.clip(rows + beside[0], 0, stack.shape[1] - 1),
        np.clip(columns + beside[1], 0, stack.shape[2] - 1),
    )
    neighbors = np.where(extreme[at], np.nan, stack[at])  # (9, n)
    single = np.count_nonzero(~np.isnan(neighbors), axis=0) >= _MIN_NEIGHBORS
    repaired = stack.copy()
    repaired[slices[single], rows[single], columns[single]] = np.nanmedian(
        neighbors[:, single], axis=0
    )
    return repaired
