"""Find the head in a scan."""

from __future__ import annotations

from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from wmh_runtime.types import Floats, Mask

ForegroundRule = Literal["otsu", "nonzero"]

_HISTOGRAM_BINS = 512
_HISTOGRAM_TOP_PERCENTILE = 99.9  # a few very bright voxels would stretch the histogram
_MIN_COMPONENT_MM3 = 1000.0  # smaller bright components are specks in the air
_DARK_HEAD_FRACTION = 0.4  # of Otsu's threshold; fat-suppressed scalp is brighter than this
_NOISE_MARGIN = 4.0  # times the lower quartile of the dark class: 3 σ of Rayleigh noise in air


def otsu_threshold(values: NDArray[np.floating[Any]]) -> float:
    """Return the intensity that best separates the values into a dark and a bright class.

    The threshold maximizes the variance between the two classes (Otsu 1979,
    doi 10.1109/TSMC.1979.4310076), on a histogram that ends at the 99.9th percentile.
    """
    top = np.percentile(values, _HISTOGRAM_TOP_PERCENTILE)
    if top == values.min():  # almost no bright voxels: do not cut them off
        top = values.max()
    # In float64, because the edges of bins may differ by less than float32 can.
    counts, edges = np.histogram(np.minimum(values, top, dtype=np.float64), bins=_HISTOGRAM_BINS)
    centers = (edges[:-1] + edges[1:]) / 2
    dark = np.cumsum(counts)[:-1].astype(np.float64)
    bright = values.size - dark
    sums = np.cumsum(counts * centers)
    mean_dark = sums[:-1] / np.maximum(dark, 1)
    mean_bright = (sums[-1] - sums[:-1]) / np.maximum(bright, 1)
    return float(edges[1 + np.argmax(dark * bright * (mean_dark - mean_bright) ** 2)])


def head_mask(stack: Floats, voxel_volume_mm3: float, rule: ForegroundRule = "otsu") -> Mask:
    """Find the head in a stack (slices, rows, columns), including dark regions inside it.

    `otsu`: voxels brighter than air, without components smaller than 1 cm³, plus every pixel
    that has such voxels on all four sides in its slice. This works for raw scans with noise in
    the air, for fat-suppressed scans and for brain-extracted scans. `nonzero`: voxels that are
    not 0, only for brain-extracted scans.

    Args:
        stack: (slices, rows, columns).
        voxel_volume_mm3: volume of one voxel.
        rule: see above.

    Returns:
        bool, same shape as the stack; all False if no head is found.
    """
    if rule == "nonzero":
        return stack != 0
    bright = stack > _air_threshold(stack)
    min_component_voxels = int(np.ceil(_MIN_COMPONENT_MM3 / voxel_volume_mm3))
    bright = cc3d.dust(bright, threshold=min_component_voxels, connectivity=26)
    return _enclosed(np.ascontiguousarray(bright, dtype=bool))


def _air_threshold(stack: Floats) -> float:
    """Return the intensity below which a voxel may be air.

    Otsu's threshold separates dark from bright tissue and is often above a fat-suppressed scalp.
    So the air threshold is a fraction of it, but at least the noise level and at most Otsu's
    threshold.
    """
    otsu = otsu_threshold(stack)
    dark = stack[stack <= otsu]
    noise = _NOISE_MARGIN * float(np.quantile(dark, 0.25)) if dark.size else otsu
    return min(otsu, max(_DARK_HEAD_FRACTION * otsu, noise))


def _enclosed(mask: Mask) -> Mask:
    """Return the pixels that have a pixel of the mask, or are one, on all four sides."""
    enclosed = np.ones_like(mask)
    for axis in (1, 2):
        enclosed &= np.logical_or.accumulate(mask, axis=axis)
        backwards = np.flip(mask, axis)
        enclosed &= np.flip(np.logical_or.accumulate(backwards, axis=axis), axis)
    return enclosed
