"""Find the head in a scan.

The result depends on the order and the relative differences of intensities only. It stays the same
if all intensities are multiplied by a positive factor, if a constant is added, if the image is
padded with any value, and if a few voxels have extreme values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from wmh_runtime.preprocessing.intensity.background import constant_background
from wmh_runtime.types import Floats, Mask

_HISTOGRAM_BINS = 512
_ROBUST_PERCENTILES = (1.0, 99.0)  # a few very dark or bright voxels would stretch the range
_MIN_COMPONENT_MM3 = 1000.0  # smaller bright components are specks in the air
_DARK_HEAD_FRACTION = 0.4  # of Otsu's threshold; fat-suppressed scalp is brighter than this
_NOISE_MARGIN = 2.6  # times the median of the surface: 3 σ of Rayleigh noise in air
_CLEARED_RANGE = 0.25  # of the robust range: background that far below tissue is cleared air
_BOX_SHARE = 0.9  # of the box around the measured voxels
_AIR_SHARE = 0.6  # of the surface: 0.95 or more in scans as acquired, 0.5 or less of brains
_BRIGHT_SURFACE = 0.75  # relative intensity; 0.2 to 0.5 of brains
_HEAD_SIZE_MM = (50.0, 300.0)  # along rows and columns
_MAX_UNKNOWN_SHARE = 0.5  # of the sides of the image; more, and the head is not told from air


@dataclass(frozen=True, eq=False)
class Head:
    """The head in a stack of slices."""

    mask: Mask  # (slices, rows, columns), including dark regions inside the head; may be empty
    background: Mask  # same shape; constant, not measured, around the head and enclosed by it
    warnings: tuple[str, ...] = ()


def find_head(stack: Floats, voxel_volume_mm3: float) -> Head:
    """Find the head in a stack (slices, rows, columns), including dark regions inside it.

    Constant background is no head. If the surface of what remains is dark, it is a head in air,
    and the voxels brighter than air are taken: brighter than a fraction of Otsu's threshold, which
    is itself often above a fat-suppressed scalp, and than the noise. Otherwise
    the background was removed, as in a brain-extracted scan, and all that remains is taken. In both
    cases, components smaller than 1 cm³ are dropped, and every pixel is added that has such voxels
    on all four sides in its slice.

    Args:
        stack: (slices, rows, columns), any intensity scale.
        voxel_volume_mm3: volume of one voxel.
    """
    background = constant_background(stack)
    measured = ~background
    bright, warnings = measured, tuple[str, ...]()
    relative = _relative_intensity(stack, measured)
    if relative is not None:
        otsu = otsu_threshold(relative[measured])
        surface = relative[_surface(measured)]
        if np.mean(surface <= _DARK_HEAD_FRACTION * otsu) >= _AIR_SHARE:
            noise = _noise_level(surface) if _is_box(measured) else 0.0
            bright = measured & (relative > min(otsu, max(_DARK_HEAD_FRACTION * otsu, noise)))
        else:
            warnings = _no_air_warnings(measured, float(np.median(surface)))
        bright = _without_damaged_pixels(bright, relative)
    del relative  # as large as the stack
    mask = _enclosed(_large_components(bright, _MIN_COMPONENT_MM3 / voxel_volume_mm3))
    return Head(mask, background, warnings)


def size_warnings(head: Mask, spacing_mm: tuple[float, float]) -> tuple[str, ...]:
    """Warn if the head is too small or too large in the slices: the voxel size may be wrong."""
    sizes_mm = [
        float(np.ptp(np.flatnonzero(head.any(axis=axes))) + 1) * mm
        for axes, mm in zip(((0, 2), (0, 1)), spacing_mm, strict=True)
    ]
    lowest, highest = _HEAD_SIZE_MM
    if lowest <= min(sizes_mm) and max(sizes_mm) <= highest:
        return ()
    rows_mm, columns_mm = sizes_mm
    return (
        f"the head measures {rows_mm:.0f} × {columns_mm:.0f} mm in the slices, expected"
        f" {lowest:.0f} to {highest:.0f} mm: check the voxel size",
    )


def gap_warnings(head_slices: NDArray[np.intp]) -> tuple[str, ...]:
    """Warn if slices between others show no head: they are lost, or damaged."""
    lost = int(np.ptp(head_slices)) + 1 - len(head_slices)
    if not lost:
        return ()
    return (
        f"empty slices between others of the head: {lost}. Nothing is found there: check the scan"
        " before you use the volumes",
    )


def otsu_threshold(values: Floats) -> float:
    """Return the value that best separates values in [0, 1] into a dark and a bright class.

    The threshold maximizes the variance between the two classes (Otsu 1979,
    doi 10.1109/TSMC.1979.4310076).
    """
    counts, edges = np.histogram(values, bins=_HISTOGRAM_BINS, range=(0, 1))
    centers = (edges[:-1] + edges[1:]) / 2
    dark = np.cumsum(counts)[:-1].astype(np.float64)
    bright = values.size - dark
    sums = np.cumsum(counts * centers)
    mean_dark = sums[:-1] / np.maximum(dark, 1)
    mean_bright = (sums[-1] - sums[:-1]) / np.maximum(bright, 1)
    variance = dark * bright * (mean_dark - mean_bright) ** 2
    best = np.flatnonzero(variance == variance.max())  # several, if no value is in between
    return float(edges[1 + best[best.size // 2]])


def _relative_intensity(stack: Floats, measured: Mask) -> Floats | None:
    """Scale intensities to [0, 1] in the robust range of the measured voxels; None if constant.

    If air was cleared to a value just below the others, such as 0, the range begins there.
    """
    values = stack[measured]
    if values.size == 0:
        return None
    low, high = map(float, np.percentile(values, _ROBUST_PERCENTILES, overwrite_input=True))
    if low == high:  # almost all voxels are equal: do not cut off the others
        low, high = float(values.min()), float(values.max())
    del values  # as large as the stack
    if low == high:
        return None
    below = stack[~measured & (stack <= low)]
    is_cleared = below.size and not _is_box(measured)  # otherwise it is padding, with any value
    if is_cleared and low - float(below.max()) <= _CLEARED_RANGE * (high - low):
        low = float(below.max())
    relative = np.empty(stack.shape, np.float32)
    for out, one in zip(relative, stack, strict=True):  # in float64, one slice at a time
        out[...] = np.clip((one.astype(np.float64) - low) / (high - low), 0, 1)
    return relative


def _noise_level(surface: Floats) -> float:
    """Return the highest relative intensity of noise in air, from a surface that is mostly air."""
    return _NOISE_MARGIN * float(np.median(surface))


def _is_box(measured: Mask) -> bool:
    """Return whether the measured voxels fill a box, so that the surface is air only.

    They do not if a scanner or a program has cleared the air: what is left of it at the surface
    is mixed with the skin.
    """
    extents = (measured.any(axis) for axis in ((1, 2), (0, 2), (0, 1)))
    box = math.prod(np.ptp(np.flatnonzero(extent)) + 1 for extent in extents)
    return bool(np.count_nonzero(measured) >= _BOX_SHARE * box)


def _surface(measured: Mask) -> Mask:
    """Return the measured pixels beside background, or beside the border of their slice."""
    inner = np.zeros_like(measured)
    inner[:, 1:-1, 1:-1] = (
        measured[:, :-2, 1:-1]
        & measured[:, 2:, 1:-1]
        & measured[:, 1:-1, :-2]
        & measured[:, 1:-1, 2:]
    )
    return measured & ~inner


def _without_damaged_pixels(mask: Mask, relative: Floats) -> Mask:
    """Drop extreme pixels with fewer than two neighbors in their slice.

    One beside the head would change the middle of the head.
    """
    neighbors = np.zeros(mask.shape, np.uint8)
    neighbors[:, 1:] += mask[:, :-1]
    neighbors[:, :-1] += mask[:, 1:]
    neighbors[:, :, 1:] += mask[:, :, :-1]
    neighbors[:, :, :-1] += mask[:, :, 1:]
    return mask & ((neighbors >= 2) | ((relative > 0) & (relative < 1)))


def _large_components(mask: Mask, least_voxels: float) -> Mask:
    """Return the 26-connected components that have at least this many voxels."""
    components = cc3d.connected_components(mask, connectivity=26)
    is_large = cc3d.statistics(components)["voxel_counts"] >= least_voxels
    is_large[0] = False  # what is not in the mask
    return np.asarray(is_large[components])


def _no_air_warnings(measured: Mask, surface: float) -> tuple[str, ...]:
    """Warn if the surface is bright, or if there is no background either."""
    if surface > _BRIGHT_SURFACE:
        return ("the border of the image is brighter than its middle: is it inverted?",)
    sides = [measured[:, 0], measured[:, -1], measured[:, :, 0], measured[:, :, -1]]
    share = np.mean(np.concatenate([side.ravel() for side in sides]))
    if share <= _MAX_UNKNOWN_SHARE:
        return ()
    return (
        f"no air is found around the head, which fills {share:.0%} of the sides of the image:"
        " check that the image shows a whole head",
    )


def _enclosed(mask: Mask) -> Mask:
    """Return the pixels that have a pixel of the mask, or are one, on all four sides."""
    enclosed = np.ones_like(mask)
    for axis in (1, 2):
        enclosed &= np.logical_or.accumulate(mask, axis=axis)
        backwards = np.flip(mask, axis)
        enclosed &= np.flip(np.logical_or.accumulate(backwards, axis=axis), axis)
    return enclosed
