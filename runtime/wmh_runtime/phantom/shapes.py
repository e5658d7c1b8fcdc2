"""Shapes as signed distances in mm: negative inside, zero on the surface, positive outside.

Points are float32 arrays (3, N) with the rows x, y, z. Distances are exact for spheres and
capsules. For other shapes they are first-order approximations, accurate near the surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]  # (3, N), mm
Field = NDArray[np.float32]  # (N,), one value per point

# Avoids divisions by zero; too small to change a voxel.
TINY = np.float32(1e-6)


def _column(values: Sequence[float]) -> NDArray[np.float32]:
    return np.asarray(values, dtype=np.float32)[:, None]


def norm(points: Points) -> Field:
    """Return the length of each column of a (3, N) array, without a temporary (3, N) array."""
    x, y, z = points
    squared: Field = x * x
    squared += y * y
    squared += z * z
    return np.sqrt(squared, out=squared)


def ellipsoid(points: Points, center_mm: Sequence[float], radii_mm: Sequence[float]) -> Field:
    """Return the distance to an axis-aligned ellipsoid; exact if the three radii are equal."""
    scaled = (points - _column(center_mm)) / _column(radii_mm)
    gauge = norm(scaled)
    slope = norm(scaled / _column(radii_mm))
    # At the center both norms are 0; use the smallest radius as their ratio.
    ratio = np.where(slope > TINY, gauge / np.maximum(slope, TINY), np.float32(min(radii_mm)))
    return (gauge - np.float32(1)) * ratio


def superellipsoid(points: Points, radii_mm: Sequence[float], exponent: float) -> Field:
    """Return the distance to |x/a|ⁿ + |y/b|ⁿ + |z/c|ⁿ = 1; with larger n more like a box."""
    radii = _column(radii_mm)
    scaled = np.maximum(np.abs(points) / radii, TINY)
    gauge = np.sum(scaled**exponent, axis=0) ** np.float32(1 / exponent)
    slope = norm((scaled / gauge) ** (exponent - 1) / radii)
    return (gauge - np.float32(1)) / slope


def capsule_chain(points: Points, nodes_mm: Sequence[tuple[float, float, float, float]]) -> Field:
    """Return the distance to a chain of capsules. Radii are interpolated linearly between nodes.

    Args:
        points: (3, N) mm.
        nodes_mm: at least two (x, y, z, radius).
    """
    nearest: Field | None = None
    for start, end in pairwise(nodes_mm):
        axis = np.asarray(end[:3], np.float32) - np.asarray(start[:3], np.float32)
        offset = points - _column(start[:3])
        along = offset[0] * axis[0] + offset[1] * axis[1] + offset[2] * axis[2]
        along = np.clip(along / np.float32(axis @ axis), 0, 1)
        offset -= axis[:, None] * along
        distance = norm(offset) - (np.float32(start[3]) + np.float32(end[3] - start[3]) * along)
        nearest = distance if nearest is None else np.minimum(nearest, distance, out=nearest)
    assert nearest is not None, "a chain has at least two nodes"
    return nearest


def smooth_union(first: Field, second: Field, blend_mm: float) -> Field:
    """Return the union of two shapes, rounded where distances differ by less than `blend_mm`."""
    weight = np.clip(np.float32(0.5) + (second - first) / np.float32(2 * blend_mm), 0, 1)
    rounding = np.float32(blend_mm) * weight * (1 - weight)
    return second + (first - second) * weight - rounding


def smooth_intersection(first: Field, second: Field, blend_mm: float) -> Field:
    """Return the intersection of two shapes with rounded edges."""
    return -smooth_union(-first, -second, blend_mm)


def outside_interval(values: Field, low: float, high: float) -> Field:
    """Return the distance of each value to [low, high]; 0 inside the interval."""
    return np.maximum(np.maximum(np.float32(low) - values, values - np.float32(high)), 0)


def coverage(distance_mm: Field, edge_mm: float = 1.0) -> Field:
    """Return the fraction inside a shape: 1 deeper than edge/2, 0.5 on the surface, 0 outside."""
    return np.clip(np.float32(0.5) - distance_mm / np.float32(edge_mm), 0, 1)


def smoothstep(values: Field, low: float, high: float) -> Field:
    """Return a smooth step from 0 at `low` to 1 at `high`: t²(3 − 2t)."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


def gaussian(points: Points, center_mm: Sequence[float], widths_mm: Sequence[float]) -> Field:
    """Return a Gaussian: 1 at its center, exp(−½) at one width from it along an axis."""
    scaled = (points - _column(center_mm)) / _column(widths_mm)
    return np.exp(np.float32(-0.5) * np.sum(scaled * scaled, axis=0))


def mirrored(points: Points) -> Points:
    """Return the points mirrored to the right side (x ≥ 0), so one shape gives a pair."""
    right = points.copy()
    np.abs(right[0], out=right[0])
    return right


def paint(canvas: Field, value: Field | float, cover: Field) -> None:
    """Blend a value into a canvas, in place; `cover` (0 to 1) is its opacity."""
    canvas += cover * (value - canvas)
