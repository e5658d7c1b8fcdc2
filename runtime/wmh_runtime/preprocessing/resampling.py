"""From a volume on a scanner's grid to square slices of a fixed pixel size, and back.

Words used here:

    volume  array on the scanner's voxel axes, (x, y, z), whatever those point to
    stack   the same voxels as (slices, rows, columns) in one fixed anatomical order
    square  the stack's slices at a fixed pixel size in mm, cropped and padded to S × S

Volume to stack only permutes and flips axes: it is undone bit for bit. Stack to square is one
small matrix for the rows and one for the columns, `R · slice · Cᵀ`, and another pair leads back.
Nothing is ever resampled from slice to slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.types import Floats


@dataclass(frozen=True)
class Samples:
    """Evenly spaced sample positions along one axis: `origin_mm + i · spacing_mm`."""

    count: int
    spacing_mm: float
    origin_mm: float = 0.0

    @property
    def positions_mm(self) -> NDArray[np.float64]:
        """The position of each sample, (count,), mm."""
        return self.origin_mm + self.spacing_mm * np.arange(self.count, dtype=np.float64)


def samples_around(source: Samples, index: int, count: int, spacing_mm: float) -> Samples:
    """Place `count` samples so that the middle one, `count // 2`, lies on a source sample.

    That is what makes cropping and padding bit-exact where both spacings are equal.
    """
    center_mm = source.origin_mm + index * source.spacing_mm
    return Samples(count, spacing_mm, center_mm - (count // 2) * spacing_mm)


def resampling_matrix(source: Samples, target: Samples) -> Floats:
    """Return the matrix that turns values at the source samples into values at the target's.

    Values between source samples are interpolated linearly. Where the target is coarser, that
    line is averaged around each target sample over a width of √(target² − source²) spacings:
    the variances of two boxes add, so pixels of one size become pixels of the other, and equal
    spacings leave values as they are. Constants and ramps are kept exactly in the interior. Up
    to half a source spacing outside the outermost source sample its value is taken; targets
    further out get 0, which is how padding comes about.

    Returns:
        float32 (target.count, source.count); each row sums to 1, or is 0 in the padding.
    """
    at = (target.positions_mm - source.origin_mm) / source.spacing_mm
    at = np.round(at, _DECIMALS)  # a sample on a sample is exactly there: no trace of neighbors
    width = np.sqrt(max((target.spacing_mm / source.spacing_mm) ** 2 - 1.0, 0.0))
    beyond = int(np.ceil(width / 2 + 1))  # how many edge samples are repeated outside
    offsets = at[:, None] - np.arange(-beyond, source.count + beyond)
    if width < _NEGLIGIBLE_WIDTH:
        weights = np.maximum(1 - abs(offsets), 0)
    else:
        weights = (_hat_integral(offsets + width / 2) - _hat_integral(offsets - width / 2)) / width
    matrix = weights[:, beyond:-beyond].copy()
    matrix[:, 0] += weights[:, :beyond].sum(axis=1)
    matrix[:, -1] += weights[:, -beyond:].sum(axis=1)
    outside = (at < -0.5 - _ROUNDING) | (at > source.count - 0.5 + _ROUNDING)
    matrix[outside] = 0
    return matrix.astype(np.float32)


_NEGLIGIBLE_WIDTH = 1e-3  # of a source spacing; below it, dividing by the width loses digits
_DECIMALS = 9
_ROUNDING = 1e-6  # of a source spacing; a sample exactly on the border counts as inside


def _hat_integral(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integrate max(1 − |t|, 0) from −∞ to t."""
    t = np.clip(t, -1, 1)
    return np.where(t < 0, (1 + t) ** 2 / 2, 1 - (1 - t) ** 2 / 2)


@dataclass(frozen=True)
class SquareGrid:
    """The way from a stack's slices to squares and the way back, as two pairs of matrices."""

    rows: Floats  # (S, R)
    columns: Floats  # (S, C)
    rows_back: Floats  # (R, S)
    columns_back: Floats  # (C, S)

    def apply(self, stack: Floats) -> Floats:
        """Resample (n, R, C) to (n, S, S); 0 outside the source."""
        return cast(Floats, self.rows @ stack @ self.columns.T)

    def undo(self, squares: Floats) -> Floats:
        """Resample (n, S, S) to (n, R, C); 0 where a slice reaches beyond the square."""
        return cast(Floats, self.rows_back @ squares @ self.columns_back.T)


def square_grid(
    shape: tuple[int, int],
    spacing_mm: tuple[float, float],
    center: tuple[int, int],
    size_px: int,
    pixel_size_mm: float,
) -> SquareGrid:
    """Place a square of `size_px` pixels on slices, its middle pixel on the voxel `center`.

    Args:
        shape: rows and columns of the slices.
        spacing_mm: between rows and between columns.
        center: row and column index that the square's pixel (S // 2, S // 2) lies on.
        size_px: S.
        pixel_size_mm: of the square's pixels, the same both ways.
    """
    forth, back = [], []
    for count, spacing, index in zip(shape, spacing_mm, center, strict=True):
        source = Samples(count, spacing)
        target = samples_around(source, index, size_px, pixel_size_mm)
        forth.append(resampling_matrix(source, target))
        back.append(resampling_matrix(target, source))
    return SquareGrid(*forth, *back)
