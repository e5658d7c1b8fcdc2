"""Where the head is, and intensities that mean the same on every scanner."""

from __future__ import annotations

from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from wmh_runtime.types import Floats, Mask

ForegroundRule = Literal["otsu", "nonzero"]

_HISTOGRAM_BINS = 512
_HISTOGRAM_TOP_PERCENTILE = 99.9  # a few very bright voxels must not stretch the histogram
_SMALLEST_PIECE_MM3 = 1000.0  # bright specks in the air below this are not head
_DARK_HEAD_SHARE = 0.4  # of Otsu's threshold: fat-suppressed scalp is dark, but brighter than this
_NOISE_MARGIN = 4.0  # times the lower quartile of the dark class: 3 σ of Rayleigh noise in air


def otsu_threshold(values: NDArray[np.floating[Any]]) -> float:
    """Return the intensity that best separates values into a dark and a bright class.

    The threshold maximises the variance between the two classes (Otsu 1979,
    doi 10.1109/TSMC.1979.4310076), on a histogram that ends at the 99.9th percentile.
    """
    top = np.percentile(values, _HISTOGRAM_TOP_PERCENTILE)
    if top == values.min():  # next to nothing is bright: the few voxels that are count
        top = values.max()
    counts, edges = np.histogram(np.minimum(values, top), bins=_HISTOGRAM_BINS)
    centers = (edges[:-1] + edges[1:]) / 2
    dark = np.cumsum(counts)[:-1].astype(np.float64)
    bright = values.size - dark
    sums = np.cumsum(counts * centers)
    mean_dark = sums[:-1] / np.maximum(dark, 1)
    mean_bright = (sums[-1] - sums[:-1]) / np.maximum(bright, 1)
    return float(edges[1 + np.argmax(dark * bright * (mean_dark - mean_bright) ** 2)])


def head_mask(stack: Floats, voxel_volume_mm3: float, rule: ForegroundRule = "otsu") -> Mask:
    """Find the head in a stack (slices, rows, columns), its dark inside included.

    `otsu`: voxels that stand out from the air, specks under 1 cm³ removed, then every pixel
    that has such voxels on all four sides within its slice. Works on raw scans, with noise in
    the air, on fat-suppressed and on brain-extracted ones. `nonzero`: voxels that are not 0, for
    brain-extracted scans only.

    Returns:
        bool, the stack's shape; all False where nothing stands out.
    """
    if rule == "nonzero":
        return stack != 0
    bright = stack > _air_threshold(stack)
    smallest_piece = int(np.ceil(_SMALLEST_PIECE_MM3 / voxel_volume_mm3))
    bright = cc3d.dust(bright, threshold=smallest_piece, connectivity=26)
    return _enclosed(np.ascontiguousarray(bright, dtype=bool))


def _air_threshold(stack: Floats) -> float:
    """Return the intensity below which a voxel may be air.

    Otsu's threshold lies between dark and bright tissue, often above a fat-suppressed scalp. So
    a share of it is taken, but no less than the noise reaches, and no more than all of it.
    """
    otsu = otsu_threshold(stack)
    dark = stack[stack <= otsu]
    noise = _NOISE_MARGIN * float(np.quantile(dark, 0.25)) if dark.size else otsu
    return min(otsu, max(_DARK_HEAD_SHARE * otsu, noise))


def _enclosed(mask: Mask) -> Mask:
    """Return the pixels with set pixels above, below, left and right, themselves counted."""
    enclosed = np.ones_like(mask)
    for axis in (1, 2):
        enclosed &= np.logical_or.accumulate(mask, axis=axis)
        backwards = np.flip(mask, axis)
        enclosed &= np.flip(np.logical_or.accumulate(backwards, axis=axis), axis)
    return enclosed
