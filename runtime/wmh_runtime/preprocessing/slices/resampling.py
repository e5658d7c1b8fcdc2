"""Resample a scan to square slices of a fixed pixel size, and back.

Terms:

    volume         array (x, y, z) on the voxel axes of the scan, in any orientation
    stack          the same voxels as (slices, rows, columns) in a fixed anatomical order
    network slice  slice of the stack at a fixed pixel size in mm, cropped and padded to S × S

From volume to stack, axes are only permuted and flipped, so the inverse is bit-exact. From stack
to network slices, each slice is multiplied with one small matrix for the rows and one for the
columns, `R · slice · Cᵀ`; another pair of matrices leads back. There is no resampling across
slices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.types import Floats, Mask


@dataclass(frozen=True)
class Samples:
    """Evenly spaced sample positions along one axis: `origin_mm + i · spacing_mm`."""

    count: int
    spacing_mm: float
    origin_mm: float = 0.0

    @property
    def positions_mm(self) -> NDArray[np.float64]:
        """Position of each sample, (count,), mm."""
        return self.origin_mm + self.spacing_mm * np.arange(self.count, dtype=np.float64)


def samples_around(source: Samples, center: float, count: int, spacing_mm: float) -> Samples:
    """Place `count` samples evenly around a position.

    With equal spacings, cropping and padding are bit-exact if the first one is on a source sample:
    if `center` is an index for an odd count, and midway between two for an even one.

    Args:
        source: samples.
        center: the position, as an index of the source samples.
        count: of samples to place.
        spacing_mm: between them.
    """
    center_mm = source.origin_mm + center * source.spacing_mm
    return Samples(count, spacing_mm, center_mm - (count - 1) / 2 * spacing_mm)


def resampling_matrix(source: Samples, target: Samples) -> Floats:
    """Return the matrix that converts values at the source samples to values at the target samples.

    Values between source samples are interpolated linearly. If the target is coarser, the
    interpolated line is averaged around each target sample over a width of √(target² − source²)
    source spacings: the variances of two boxes add, so source pixels become target pixels, and
    equal spacings do not change values. Constants and ramps are preserved exactly in the
    interior. Target samples up to half a source spacing outside the outermost source sample get
    its value. Target samples further outside get 0 (padding).

    Returns:
        float32 (target.count, source.count); each row sums to 1, or to 0 in the padding.
    """
    positions = (target.positions_mm - source.origin_mm) / source.spacing_mm
    positions = np.round(
        positions, _DECIMALS
    )  # a target on a source sample gets no weight of neighbors
    width = np.sqrt(max((target.spacing_mm / source.spacing_mm) ** 2 - 1.0, 0.0))
    margin = int(np.ceil(width / 2 + 1))  # number of repeated edge samples on each side
    offsets = positions[:, None] - np.arange(-margin, source.count + margin)
    if width < _NEGLIGIBLE_WIDTH:
        weights = np.maximum(1 - abs(offsets), 0)
    else:
        weights = (_hat_integral(offsets + width / 2) - _hat_integral(offsets - width / 2)) / width
    matrix = weights[:, margin:-margin].copy()
    matrix[:, 0] += weights[:, :margin].sum(axis=1)
    matrix[:, -1] += weights[:, -margin:].sum(axis=1)
    outside = (positions < -0.5 - _ROUNDING) | (positions > source.count - 0.5 + _ROUNDING)
    matrix[outside] = 0
    return matrix.astype(np.float32)


_NEGLIGIBLE_WIDTH = 1e-3  # in source spacings; a division by a smaller width loses precision
_DECIMALS = 9
_ROUNDING = 1e-6  # in source spacings; a sample exactly on the border is inside


def _hat_integral(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integrate max(1 − |t|, 0) from −∞ to t."""
    t = np.clip(t, -1, 1)
    return np.where(t < 0, (1 + t) ** 2 / 2, 1 - (1 - t) ** 2 / 2)


@dataclass(frozen=True)
class SliceResampler:
    """Resamples slices of a stack to network slices, and back, with two pairs of matrices."""

    rows: Floats  # (S, R)
    columns: Floats  # (S, C)
    rows_back: Floats  # (R, S)
    columns_back: Floats  # (C, S)

    @property
    def field(self) -> Mask:
        """Say which pixels of a slice of the stack lie inside the network slice, (R, C)."""
        return np.outer(self.rows_back.any(axis=1), self.columns_back.any(axis=1))

    def apply(self, stack: Floats) -> Floats:
        """Resample a stack (n, R, C) to network slices (n, S, S); 0 outside the stack."""
        return cast(Floats, self.rows @ stack @ self.columns.T)

    def undo(self, slices: Floats) -> Floats:
        """Resample network slices (n, S, S) to a stack (n, R, C); 0 outside the network slices."""
        return cast(Floats, self.rows_back @ slices @ self.columns_back.T)


def slice_resampler(
    shape: tuple[int, int],
    spacing_mm: tuple[float, float],
    center: tuple[float, float],
    size_px: int,
    pixel_size_mm: float,
) -> SliceResampler:
    """Return a resampler to S × S pixels, evenly around `center`.

    Args:
        shape: rows and columns of the slices.
        spacing_mm: distance between rows, and between columns.
        center: row and column, indices of voxels or between them.
        size_px: S, the number of pixels along each side.
        pixel_size_mm: pixel size of the network slices, the same along rows and columns.
    """
    forward, back = [], []
    for count, spacing, index in zip(shape, spacing_mm, center, strict=True):
        source = Samples(count, spacing)
        target = samples_around(source, index, size_px, pixel_size_mm)
        forward.append(resampling_matrix(source, target))
        back.append(resampling_matrix(target, source))
    return SliceResampler(*forward, *back)
