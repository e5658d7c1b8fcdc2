"""Who is in the scanner: everything about one head that is drawn from its seed.

Head coordinates are RAS+ mm: x to the right, y to the front, z up, the origin between the
commissures in the middle of the brain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.phantom.shapes import Points
from wmh_runtime.phantom.waves import WaveField

VectorField = tuple[WaveField, WaveField, WaveField]


@dataclass(frozen=True)
class Person:
    """One head: sizes, ageing, and the random fields its surfaces follow.

    Args:
        stretch: (3,) size of this head over the standard one along x, y, z.
        frontal_taper: how much narrower the skull gets towards the forehead, 0 to 0.3.
        atrophy: 0 young, 1 advanced: wide sulci, fissures and ventricles.
        subarachnoid_mm: fluid between cortex and skull.
        ventricle_mm: thickness added to the walls' distance from the ventricles' axes.
        cortex_mm: thickness of the cortical ribbon.
        scalp_mm: subcutaneous fat over the calvaria.
        warp: three fields that displace points by `warp_mm`, so that no head is symmetric.
        folding: zero on the sulci, in folded coordinates.
        kinks: three fields that make sulci wind.
        sulcal_depth: modulates how deep sulci run.
        folia: bends the leaves of the cerebellum.
        patches: slow variation of tissue brightness.
        texture: fine variation, also of muscle and fat.
        artifacts: (5,) brightness of fluid flow at the five places of `ventricles.FLOW_SPOTS`.
    """

    stretch: NDArray[np.float32]
    frontal_taper: float
    atrophy: float
    subarachnoid_mm: float
    ventricle_mm: float
    cortex_mm: float
    scalp_mm: float
    warp: VectorField
    warp_mm: float
    folding: WaveField
    kinks: VectorField
    sulcal_depth: WaveField
    folia: WaveField
    patches: WaveField
    texture: WaveField
    artifacts: NDArray[np.float32]

    @staticmethod
    def draw(rng: np.random.Generator) -> Person:
        """Draw one adult, middle-aged to old."""
        atrophy = float(rng.beta(1.6, 1.8))
        return Person(
            stretch=rng.normal((0.985, 1.0, 1.0), (0.015, 0.025, 0.025)).astype(np.float32),
            frontal_taper=rng.uniform(0.08, 0.20),
            atrophy=atrophy,
            subarachnoid_mm=1.2 + 2.2 * atrophy + rng.uniform(0, 0.6),
            ventricle_mm=-1.6 + 4.6 * atrophy + rng.normal(0, 0.6),
            cortex_mm=rng.uniform(2.7, 3.3) - 0.3 * atrophy,
            scalp_mm=rng.uniform(3.0, 5.5),
            warp=_vector_field(rng, 6, 120),
            warp_mm=rng.uniform(0.7, 1.5),
            folding=WaveField.draw(rng, 30, rng.uniform(21, 25), 0.12),
            kinks=_vector_field(rng, 5, 30),
            sulcal_depth=WaveField.draw(rng, 10, 45, 0.2),
            folia=WaveField.draw(rng, 8, 28, 0.2),
            patches=WaveField.draw(rng, 10, 40, 0.3),
            texture=WaveField.draw(rng, 16, 9, 0.35),
            artifacts=np.clip(rng.normal(0.35, 0.45, 5), 0, 1.2).astype(np.float32),
        )

    def standardized(self, points: Points) -> Points:
        """Points of this head as places of the standard head: (3, N) mm to (3, N) mm."""
        out = np.empty_like(points)
        for axis, field in enumerate(self.warp):
            moved = points[axis] + np.float32(self.warp_mm) * field.value(points)
            out[axis] = moved / self.stretch[axis]
        front = np.clip(out[1], 0, 100) / 100
        out[0] /= 1 - np.float32(self.frontal_taper) * front * front
        return out


def _vector_field(rng: np.random.Generator, count: int, wavelength_mm: float) -> VectorField:
    x, y, z = (WaveField.draw(rng, count, wavelength_mm, 0.3) for _ in range(3))
    return x, y, z
