"""White matter hyperintensities: their locations, and their growth to a given load.

Every point of white matter has a propensity in mm. Points with a propensity above a level are
lesion. The level determines the load: if it is lowered by a millimeter, every lesion border moves
outwards by about a millimeter and new lesions appear. Periventricular bands become wider, and
lesions become confluent.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from wmh_runtime.phantom.anatomy.brain import Cerebrum
from wmh_runtime.phantom.shapes import Field, Points, gaussian, mirrored, norm, smoothstep
from wmh_runtime.phantom.waves import WaveField

# (center), (widths), additional propensity in mm; right side. Periventricular caps and bands.
CAPS = (
    ((16.0, 42.0, 8.0), (9.0, 9.0, 9.0), 5.0),
    ((28.0, -46.0, 10.0), (9.0, 12.0, 10.0), 4.2),
    ((22.0, 0.0, 25.0), (12.0, 34.0, 11.0), 4.2),
)
BAND_MM = 2.2  # propensity at the ventricular border
BAND_ROUGHNESS_MM = 1.7
DEEP_STRENGTH_MM = 2.4  # mean of an exponential distribution: many small deep lesions, few large
DEEP_SOFT_LIMIT_MM = 6.0  # growth is slower beyond this radius
DEEP_REACH_MM = 14.0
BORDER_NOISE_MM = 0.95
CORTEX_CLEARANCE_MM = 2.5
EDGE_MM = 1.4  # width of a lesion border, a linear ramp

VISIBLE_FRACTION = 0.15  # lesion fraction below which a voxel is not visibly changed
SOLID_FRACTION = 0.75  # a component without a voxel above this is not a lesion
SEARCH_STEPS = 20
EXTRA_GROWTH_MM = 1.0  # how much lesions may still grow after the last new lesion
HALO_MM = 3.0


@dataclass(frozen=True)
class LesionTendency:
    """The tendency of one head to form lesions at each point.

    Args:
        centers: (K, 3) float32, centers of deep lesions in the standard head, mm.
        strength_mm: (K,) propensity at each center.
        axes: (K, 3) relative size of each along x, y, z.
        border: random field that makes borders irregular.
        regions: smooth random field that varies the width of the periventricular bands.
    """

    centers: NDArray[np.float32]
    strength_mm: NDArray[np.float32]
    axes: NDArray[np.float32]
    border: WaveField
    regions: WaveField

    @staticmethod
    def draw(rng: np.random.Generator, centers: NDArray[np.float32]) -> LesionTendency:
        """Draw the tendency for given (K, 3) centers of deep lesions."""
        count = len(centers)
        return LesionTendency(
            centers,
            rng.exponential(DEEP_STRENGTH_MM, count).astype(np.float32),
            np.exp(rng.normal(0, 0.32, (count, 3))).astype(np.float32),
            WaveField.draw(rng, 14, 9, 0.3),
            WaveField.draw(rng, 10, 26, 0.3),
        )

    def propensity(self, points: Points, cerebrum: Cerebrum) -> Field:
        """Return the propensity (N,) in mm at white matter points (3, N) of the standard head."""
        gain = np.float32(BAND_MM) + np.float32(BAND_ROUGHNESS_MM) * self.regions.value(points)
        right = mirrored(points)
        for center, widths, cap_mm in CAPS:
            gain += np.float32(cap_mm) * gaussian(right, center, widths)
        gain -= 6 * smoothstep(-right[2], -2, 8)  # few lesions at the temporal horns
        band = gain - np.float32(0.9) * np.maximum(cerebrum.ventricle_mm, 0)
        value = np.maximum(band, self._deep(points))
        value += np.float32(BORDER_NOISE_MM) * self.border.value(points)
        # No lesions in corpus callosum, septum and fornix.
        value -= 8 * np.maximum(cerebrum.callosal, smoothstep(-right[0], -9, -6))
        return value - np.maximum(np.float32(CORTEX_CLEARANCE_MM + 2.5) - cerebrum.pial_mm, 0)

    def _deep(self, points: Points) -> Field:
        """Return the propensity (N,) in mm to deep lesions."""
        value = np.full(points.shape[1], -DEEP_REACH_MM, np.float32)
        low, high = points[2].min(initial=np.inf), points[2].max(initial=-np.inf)
        near = (self.centers[:, 2] > low - DEEP_REACH_MM) & (
            self.centers[:, 2] < high + DEEP_REACH_MM
        )
        for center, strength, axes in zip(
            self.centers[near], self.strength_mm[near], self.axes[near], strict=True
        ):
            close = np.flatnonzero(np.abs(points[1] - center[1]) < DEEP_REACH_MM)
            close = close[np.abs(points[0, close] - center[0]) < DEEP_REACH_MM]
            radius = norm((points[:, close] - center[:, None]) / axes[:, None])
            radius += np.float32(0.5 / DEEP_SOFT_LIMIT_MM) * radius * radius
            value[close] = np.maximum(value[close], strength - radius)
        return value


@dataclass(frozen=True)
class LesionMap:
    """Lesions on the grid of the scan, as arrays over the voxels with white matter (V,)."""

    fraction: Field  # lesion fraction of the voxel, 0 to 1
    halo: Field  # diffuse change around lesions, 0 to 1


@dataclass(frozen=True)
class WhiteMatter:
    """White matter on the grid of a scan.

    Args:
        shape: shape of the grid.
        voxels: (V,) flat indices of the voxels with white matter.
        white: (V, S) fraction of white matter at S depths within the slice.
        propensity: (V, S) propensity to lesions in mm at the same depths.
    """

    shape: tuple[int, int, int]
    voxels: NDArray[np.intp]
    white: NDArray[np.float32]
    propensity: NDArray[np.float32]


def grow_lesions(white_matter: WhiteMatter, target_voxels: float) -> LesionMap:
    """Find the level at which lesions fill a number of voxels.

    A voxel counts if at least half of it is lesion. A new lesion appears with several voxels at
    once. If this would exceed the target, no new lesion is added, and the active ones grow
    instead.
    """
    highest = float(white_matter.propensity.max()) + EDGE_MM
    if target_voxels <= 0:
        return LesionMap(
            np.zeros(len(white_matter.voxels), np.float32), _halo(white_matter, highest + 2)
        )
    lowest = float(np.percentile(white_matter.propensity, 1))
    low, high = _bracket(white_matter, None, target_voxels, lowest, highest)
    active = _lesions(white_matter, high) > SOLID_FRACTION
    choices: list[tuple[float, NDArray[np.bool_] | None]] = [(low, None), (high, None)]
    if active.any():
        bracket = _bracket(white_matter, active, target_voxels, low - EXTRA_GROWTH_MM, high)
        choices += [(level, active) for level in bracket]
    fractions = [_lesions(white_matter, level, only) for level, only in choices]
    misses = [abs(np.count_nonzero(fraction >= 0.5) - target_voxels) for fraction in fractions]
    best = int(np.argmin(misses))
    return LesionMap(fractions[best], _halo(white_matter, choices[best][0]))


def level_of_load(white_matter: WhiteMatter, target_voxels: float) -> float:
    """Find the level of propensity in mm at which lesions fill at most a number of voxels."""
    highest = float(white_matter.propensity.max()) + EDGE_MM
    lowest = float(np.percentile(white_matter.propensity, 1))
    return _bracket(white_matter, None, target_voxels, lowest, highest)[1]


def lesions_at(white_matter: WhiteMatter, level: float) -> LesionMap:
    """Return the lesions at a level of propensity in mm, on any grid: those of one head agree."""
    return LesionMap(_lesions(white_matter, level), _halo(white_matter, level))


def _bracket(
    white_matter: WhiteMatter,
    active: NDArray[np.bool_] | None,
    target_voxels: float,
    low: float,
    high: float,
) -> tuple[float, float]:
    """Find the level for a number of voxels by bisection; the lower limit gives more lesion."""
    for _ in range(SEARCH_STEPS):
        level = (low + high) / 2
        if np.count_nonzero(_lesions(white_matter, level, active) >= 0.5) > target_voxels:
            low = level
        else:
            high = level
    return low, high


def _lesions(
    white_matter: WhiteMatter, level: float, active: NDArray[np.bool_] | None = None
) -> Field:
    """Return the lesion fraction (V,) at a level, without lesions that are too faint.

    Args:
        white_matter: the white matter.
        level: propensity at the borders of lesions, mm.
        active: (V,) keep only lesions that contain one of these voxels. None: keep all.
    """
    above = (white_matter.propensity - np.float32(level)) / np.float32(EDGE_MM)
    ramp = np.clip(above + np.float32(0.5), 0, 1)
    fraction: Field = np.mean(ramp * white_matter.white, axis=1)
    grid = np.zeros(white_matter.shape, np.uint8)
    grid.reshape(-1)[white_matter.voxels[fraction > VISIBLE_FRACTION]] = 1
    labels = np.asarray(cc3d.connected_components(grid, connectivity=26)).reshape(-1)
    own = labels[white_matter.voxels]
    kept = np.zeros(int(own.max(initial=0)) + 1, bool)
    solid = fraction > SOLID_FRACTION
    kept[own[solid if active is None else solid & active]] = True
    kept[0] = False  # component 0: voxels outside all visible lesions
    return np.where(kept[own], fraction, np.float32(0))


def _halo(white_matter: WhiteMatter, level: float) -> Field:
    """Return the diffuse change around lesions, which decreases over some millimeters."""
    below = np.maximum(np.float32(level) - white_matter.propensity, 0)
    halo: Field = np.mean(np.exp(-below / np.float32(HALO_MM)) * white_matter.white, axis=1)
    return halo
