"""Bring a scan to the grid of another one, through their affines.

On the same grid, no value is changed. Otherwise, values are interpolated linearly between the
eight voxels around a point. Where the voxels of the target are larger, the scan is first averaged
along its axes, so that a target voxel shows the mean over its volume and thin structures do not
fall between the samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.imageio.volume import Scan, reordered_to
from wmh_runtime.types import Floats, Mask

_Number = TypeVar("_Number", bound=np.integer)

_NEGLIGIBLY_WIDER = 1.01  # times a voxel of the scan
_EDGE = 0.5  # of a voxel: how far its value reaches beyond its center
_ROUNDING = 1e-6  # in voxels; a point exactly on the border is inside


@dataclass(frozen=True)
class GridMatch:
    """A scan on the grid of another one."""

    scan: Scan
    center_distance_mm: float = 0.0  # of the fields of view, before
    covered: Mask | None = None  # (x, y, z): where it has values; None: everywhere, as it was


def bring_to_grid(scan: Scan, grid: Scan) -> GridMatch:
    """Return a scan on the grid of another one. On the same grid, voxels are reordered only.

    Outside its field of view, the result has the lowest value of the scan.
    """
    reordered = reordered_to(scan, grid)
    if reordered is not None:
        return GridMatch(reordered)
    to_scan = np.linalg.inv(scan.affine) @ grid.affine  # voxel indices of grid to those of scan
    averaged = _averaged_to(scan.voxels, to_scan)
    voxels, covered = _interpolated(averaged, to_scan, grid.shape, float(scan.voxels.min()))
    centers_mm = [
        one.affine[:3, :3] @ ((np.array(one.shape) - 1) / 2) + one.affine[:3, 3]
        for one in (scan, grid)
    ]
    return GridMatch(
        replace(scan, voxels=voxels, affine=grid.affine, header=grid.header),
        float(np.linalg.norm(centers_mm[0] - centers_mm[1])),
        covered,
    )


def nearest_on_grid(numbers: NDArray[_Number], affine: Affine, grid: Scan) -> NDArray[_Number]:
    """Return the number of the nearest voxel for each voxel of a grid; 0 outside.

    Args:
        numbers: (x, y, z).
        affine: (4, 4), voxel index of the numbers to RAS+ mm.
        grid: a scan.
    """
    to_numbers = np.linalg.inv(affine) @ grid.affine
    result = np.zeros(grid.shape, numbers.dtype, order="F")
    for z, points in _planes_of(grid.shape, to_numbers):
        at = np.rint(points - _ROUNDING).astype(np.intp)
        last = np.array(numbers.shape).reshape(3, 1, 1) - 1
        inside = ((at >= 0) & (at <= last)).all(axis=0)
        result[..., z][inside] = numbers[tuple(at[:, inside])]
    return result


def _planes_of(
    shape: tuple[int, int, int], to_source: Affine
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield the voxel indices in a source (3, x, y) for each slice of a grid: it saves memory."""
    plane = np.stack(np.meshgrid(*map(np.arange, shape[:2]), indexing="ij"))
    in_plane = np.tensordot(to_source[:3, :2], plane, axes=1)
    for z in range(shape[2]):
        yield z, in_plane + (to_source[:3, 2] * z + to_source[:3, 3])[:, None, None]


def _averaged_to(voxels: Floats, to_scan: Affine) -> Floats:
    """Average along each axis over the width of a target voxel, if it is wider than a voxel.

    The width of a turned voxel along an axis follows from the variance of a box, width² / 12, which
    adds up over its three sides.
    """
    widths = np.sqrt((to_scan[:3, :3] ** 2).sum(axis=1))  # in voxels of the scan
    for axis, width in enumerate(widths):
        if width > _NEGLIGIBLY_WIDER and voxels.shape[axis] > 1:
            weights = _box_weights(voxels.shape[axis], float(width))
            voxels = np.moveaxis(np.tensordot(weights, voxels, axes=(1, axis)), 0, axis)
    return voxels


def _box_weights(count: int, width: float) -> Floats:
    """Return the matrix that averages over a window; at the ends over what there is of it.

    A voxel that the window covers in part has a part of the weight.
    """
    distance = abs(np.arange(count)[:, None] - np.arange(count))
    weights = np.clip((width + 1) / 2 - distance, 0, 1)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _interpolated(
    voxels: Floats, to_scan: Affine, shape: tuple[int, int, int], outside: float
) -> tuple[NDArray[np.float32], Mask]:
    """Interpolate at the voxels of another grid; also return which of them the scan covers."""
    result = np.full(shape, outside, np.float32, order="F")
    covered = np.zeros(shape, np.bool_, order="F")
    last = np.array(voxels.shape) - 1
    for z, points in _planes_of(shape, to_scan):
        reach = _EDGE + _ROUNDING
        inside = ((points >= -reach) & (points <= (last + reach).reshape(3, 1, 1))).all(axis=0)
        if not inside.any():
            continue
        result[..., z][inside] = _linear(voxels, points[:, inside], last)
        covered[..., z] = inside
    return result, covered


def _linear(voxels: Floats, points: NDArray[np.float64], last: NDArray[np.int_]) -> Floats:
    """Interpolate at points (3, n), in voxel indices; those beyond the last voxel get its value."""
    points = np.clip(points, 0, last[:, None])
    lower = np.minimum(points.astype(np.intp), np.maximum(last[:, None] - 1, 0))
    fraction = (points - lower).astype(np.float32)
    total = np.zeros(points.shape[1], np.float32)
    for corner in product((0, 1), repeat=3):
        weight = np.ones(points.shape[1], np.float32)
        for part, side in zip(fraction, corner, strict=True):
            weight *= part if side else 1 - part
        at = np.minimum(lower + np.array(corner)[:, None], last[:, None])
        total += weight * voxels[tuple(at)]
    return total
