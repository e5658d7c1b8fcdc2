"""Parameters of one head, drawn from its seed.

Head coordinates are RAS+ mm: x to the right, y to anterior, z to superior. The origin is between
the commissures in the middle of the brain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.phantom.shapes import Points
from wmh_runtime.phantom.waves import WaveField

VectorField = tuple[WaveField, WaveField, WaveField]


@dataclass(frozen=True)
class HeadParameters:
    """One head: sizes, atrophy, and the random fields of its surfaces.

    Args:
        stretch: (3,) size relative to the standard head along x, y, z.
        frontal_taper: relative narrowing of the skull towards the forehead, 0 to 0.3.
        atrophy: 0 none, 1 advanced: wide sulci, fissures and ventricles.
        subarachnoid_mm: thickness of the fluid between cortex and skull.
        ventricle_mm: enlargement of the ventricles: outward shift of their walls.
        cortex_mm: thickness of the cortical ribbon.
        scalp_mm: thickness of the subcutaneous fat over the calvaria.
        warp: three fields that displace points, so that no head is symmetric.
        warp_mm: standard deviation of this displacement.
        folding: field that is zero on the sulci.
        winding: three fields that make sulci tortuous.
        sulcal_depth: field that varies the depth of sulci.
        folia: field that bends the cerebellar folia.
        patches: smooth variation of tissue signal.
        texture: fine variation of tissue signal, also in muscle and fat.
        artifacts: (5,) signal of flow artifacts at `ventricles.FLOW_SPOTS`.
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
    winding: VectorField
    sulcal_depth: WaveField
    folia: WaveField
    patches: WaveField
    texture: WaveField
    artifacts: NDArray[np.float32]

    @staticmethod
    def draw(rng: np.random.Generator) -> HeadParameters:
        """Draw the head of a middle-aged to old adult."""
        atrophy = float(rng.beta(1.6, 1.8))
        return HeadParameters(
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
            winding=_vector_field(rng, 5, 30),
            sulcal_depth=WaveField.draw(rng, 10, 45, 0.2),
            folia=WaveField.draw(rng, 8, 28, 0.2),
            patches=WaveField.draw(rng, 10, 40, 0.3),
            texture=WaveField.draw(rng, 16, 9, 0.35),
            artifacts=np.clip(rng.normal(0.35, 0.45, 5), 0, 1.2).astype(np.float32),
        )

    def standardized(self, points: Points) -> Points:
        """Map points of this head to the standard head: (3, N) mm to (3, N) mm."""
        out = np.empty_like(points)
        for axis, field in enumerate(self.warp):
            moved = points[axis] + np.float32(self.warp_mm) * field.value(points)
            out[axis] = moved / self.stretch[axis]
        anterior = np.clip(out[1], 0, 100) / 100
        out[0] /= 1 - np.float32(self.frontal_taper) * anterior * anterior
        return out


def _vector_field(rng: np.random.Generator, count: int, wavelength_mm: float) -> VectorField:
    x, y, z = (WaveField.draw(rng, count, wavelength_mm, 0.3) for _ in range(3))
    return x, y, z
