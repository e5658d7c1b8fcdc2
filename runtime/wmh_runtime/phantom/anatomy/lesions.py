"""White matter hyperintensities: where they would grow first, and how far they have grown.

Every point of white matter has a propensity in mm. A lesion is where it exceeds a level, and the
level is the one number that sets the load: lowering it by a millimetre moves every border outwards
by about a millimetre and wakes new lesions, so bands widen and spots flow together.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from wmh_runtime.phantom.anatomy.brain import Cerebrum
from wmh_runtime.phantom.shapes import Field, Points, gaussian, mirrored, norm, smoothstep
from wmh_runtime.phantom.waves import WaveField

# (center), (widths), gain in mm of the right side: caps and the borders of the bodies.
CAPS = (
    ((16.0, 42.0, 8.0), (9.0, 9.0, 9.0), 5.0),
    ((28.0, -46.0, 10.0), (9.0, 12.0, 10.0), 4.2),
    ((22.0, 0.0, 25.0), (12.0, 34.0, 11.0), 4.2),
)
BAND_MM = 2.2  # propensity of an ordinary ventricular border above that of the deep sources
BAND_ROUGHNESS_MM = 1.7
SOURCE_SPREAD_MM = 2.4  # deep sources' vigour is exponential: many small, few large
SOURCE_SOFT_LIMIT_MM = 6.0  # growing beyond this radius gets harder
SOURCE_REACH_MM = 14.0
BORDER_NOISE_MM = 0.95
CORTEX_CLEARANCE_MM = 2.5
EDGE_MM = 1.4  # a border is a linear ramp this wide

VISIBLE_FRACTION = 0.15  # fainter than this share of a lesion's contrast, nobody would see it
SOLID_FRACTION = 0.75  # a lesion that nowhere reaches this is no lesion yet
SEARCH_STEPS = 20
GROW_ON_MM = 1.0  # how far lesions may grow on beyond the level at which others wake
HALO_MM = 3.0


@dataclass(frozen=True)
class Lesioning:
    """One person's tendency to lesions.

    Args:
        centers: (K, 3) float32, places of deep lesions in the standard head, mm.
        vigour_mm: (K,) head start of each.
        axes: (K, 3) relative extent of each along x, y, z.
        border: field that roughens borders; `regions` varies the bands slowly.
    """

    centers: NDArray[np.float32]
    vigour_mm: NDArray[np.float32]
    axes: NDArray[np.float32]
    border: WaveField
    regions: WaveField

    @staticmethod
    def draw(rng: np.random.Generator, centers: NDArray[np.float32]) -> Lesioning:
        """Draw the tendency of a person whose deep lesions may start at (K, 3) centers."""
        count = len(centers)
        return Lesioning(
            centers,
            rng.exponential(SOURCE_SPREAD_MM, count).astype(np.float32),
            np.exp(rng.normal(0, 0.32, (count, 3))).astype(np.float32),
            WaveField.draw(rng, 14, 9, 0.3),
            WaveField.draw(rng, 10, 26, 0.3),
        )

    def propensity(self, points: Points, cerebrum: Cerebrum) -> Field:
        """Propensity (N,) in mm at white-matter points (3, N) of the standard head."""
        gain = np.float32(BAND_MM) + np.float32(BAND_ROUGHNESS_MM) * self.regions.value(points)
        right = mirrored(points)
        for center, widths, cap_mm in CAPS:
            gain += np.float32(cap_mm) * gaussian(right, center, widths)
        gain -= 6 * smoothstep(-right[2], -2, 8)  # temporal horns are mostly spared
        band = gain - np.float32(0.9) * np.maximum(cerebrum.ventricle_mm, 0)
        value = np.maximum(band, self._deep(points))
        value += np.float32(BORDER_NOISE_MM) * self.border.value(points)
        # Callosum, septum and fornix stay clear.
        value -= 8 * np.maximum(cerebrum.callosal, smoothstep(-right[0], -9, -6))
        return value - np.maximum(np.float32(CORTEX_CLEARANCE_MM + 2.5) - cerebrum.pial_mm, 0)

    def _deep(self, points: Points) -> Field:
        value = np.full(points.shape[1], -SOURCE_REACH_MM, np.float32)
        low, high = points[2].min(initial=np.inf), points[2].max(initial=-np.inf)
        near = (self.centers[:, 2] > low - SOURCE_REACH_MM) & (
            self.centers[:, 2] < high + SOURCE_REACH_MM
        )
        for center, vigour, axes in zip(
            self.centers[near], self.vigour_mm[near], self.axes[near], strict=True
        ):
            close = np.flatnonzero(np.abs(points[1] - center[1]) < SOURCE_REACH_MM)
            close = close[np.abs(points[0, close] - center[0]) < SOURCE_REACH_MM]
            radius = norm((points[:, close] - center[:, None]) / axes[:, None])
            radius += np.float32(0.5 / SOURCE_SOFT_LIMIT_MM) * radius * radius
            value[close] = np.maximum(value[close], vigour - radius)
        return value


@dataclass(frozen=True)
class LesionMap:
    """Lesions on the scan's grid, as flat arrays over the voxels that hold white matter (V,)."""

    fraction: Field  # how much of the voxel is lesion, 0 to 1
    halo: Field  # how much it is diffusely changed around lesions, 0 to 1


@dataclass(frozen=True)
class WhiteMatter:
    """White matter on a scan's grid.

    Args:
        shape: the grid.
        voxels: (V,) flat indices of the voxels that hold white matter.
        white: (V, S) fraction of white matter at S depths within the slice.
        propensity: (V, S) propensity to lesions in mm there.
    """

    shape: tuple[int, int, int]
    voxels: NDArray[np.intp]
    white: NDArray[np.float32]
    propensity: NDArray[np.float32]


def grow(matter: WhiteMatter, target_voxels: float) -> LesionMap:
    """Find the level at which lesions fill a number of voxels, a voxel counting from one half on.

    A lesion that wakes does so with several voxels at once. Where that would overshoot, no further
    one is let in and those that are awake grow on instead.
    """
    highest = float(matter.propensity.max()) + EDGE_MM
    if target_voxels <= 0:
        return LesionMap(np.zeros(len(matter.voxels), np.float32), _halo(matter, highest + 2))
    lowest = float(np.percentile(matter.propensity, 1))
    low, high = _bracket(matter, None, target_voxels, lowest, highest)
    awake = _lesions(matter, high) > SOLID_FRACTION
    choices: list[tuple[float, NDArray[np.bool_] | None]] = [(low, None), (high, None)]
    if awake.any():
        bracket = _bracket(matter, awake, target_voxels, low - GROW_ON_MM, high)
        choices += [(level, awake) for level in bracket]
    fractions = [_lesions(matter, level, only) for level, only in choices]
    misses = [abs(np.count_nonzero(fraction >= 0.5) - target_voxels) for fraction in fractions]
    best = int(np.argmin(misses))
    return LesionMap(fractions[best], _halo(matter, choices[best][0]))


def _bracket(
    matter: WhiteMatter,
    awake: NDArray[np.bool_] | None,
    target_voxels: float,
    low: float,
    high: float,
) -> tuple[float, float]:
    """Halve an interval of levels until its ends are as good as equal; more lesion at the low."""
    for _ in range(SEARCH_STEPS):
        level = (low + high) / 2
        if np.count_nonzero(_lesions(matter, level, awake) >= 0.5) > target_voxels:
            low = level
        else:
            high = level
    return low, high


def _lesions(matter: WhiteMatter, level: float, awake: NDArray[np.bool_] | None = None) -> Field:
    """Lesion fraction (V,) at a level, without specks too faint to be outlined.

    Args:
        matter: where lesions may be.
        level: propensity on their borders, mm.
        awake: (V,) keep only lesions that hold one of these voxels; None keeps all.
    """
    above = (matter.propensity - np.float32(level)) / np.float32(EDGE_MM)
    ramp = np.clip(above + np.float32(0.5), 0, 1)
    fraction: Field = np.mean(ramp * matter.white, axis=1)
    grid = np.zeros(matter.shape, np.uint8)
    grid.reshape(-1)[matter.voxels[fraction > VISIBLE_FRACTION]] = 1
    labels = np.asarray(cc3d.connected_components(grid, connectivity=26)).reshape(-1)
    own = labels[matter.voxels]
    kept = np.zeros(int(own.max(initial=0)) + 1, bool)
    solid = fraction > SOLID_FRACTION
    kept[own[solid if awake is None else solid & awake]] = True
    kept[0] = False  # the faint fringe outside all visible lesions goes too
    return np.where(kept[own], fraction, np.float32(0))


def _halo(matter: WhiteMatter, level: float) -> Field:
    """Diffuse change that fades over some millimetres from the lesions' borders."""
    below = np.maximum(np.float32(level) - matter.propensity, 0)
    halo: Field = np.mean(np.exp(-below / np.float32(HALO_MM)) * matter.white, axis=1)
    return halo
