"""Signal of each tissue in FLAIR and in T1, relative to white matter = 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Signals:
    """Relative signal of the tissues in one scan."""

    white: float
    cortex: float
    limbic: float  # added to the cortex in hippocampus, insula and cingulum
    caudate: float
    putamen: float
    pallidum: float
    thalamus: float
    callosum: float
    brainstem: float
    fluid: float
    choroid: float
    ependyma: float  # added to the first millimeter around the ventricles
    fat: float
    marrow: float
    skin: float
    muscle: float
    bone: float
    globe: float
    sinus: float
    mucosa: float

    @staticmethod
    def draw(rng: np.random.Generator, fat_range: tuple[float, float]) -> Signals:
        """Draw the tissue contrast of one scan.

        Args:
            rng: random generator.
            fat_range: range of the signal of subcutaneous fat; low with fat suppression.
        """
        cortex = rng.uniform(1.18, 1.38)
        fat = rng.uniform(*fat_range)
        return Signals(
            white=1.0,
            cortex=cortex,
            limbic=rng.uniform(0.10, 0.28),
            caudate=cortex * rng.uniform(0.90, 0.97),
            putamen=cortex * rng.uniform(0.84, 0.93),
            pallidum=rng.uniform(0.88, 1.02),
            thalamus=rng.uniform(1.04, 1.14),
            callosum=rng.uniform(0.86, 0.94),
            brainstem=rng.uniform(0.98, 1.10),
            fluid=rng.uniform(0.16, 0.28),
            choroid=rng.uniform(1.4, 1.9),
            ependyma=rng.uniform(0.10, 0.30),
            fat=fat,
            marrow=fat * rng.uniform(0.35, 0.6),
            skin=rng.uniform(0.45, 0.75),
            muscle=rng.uniform(0.35, 0.55),
            bone=rng.uniform(0.05, 0.10),
            globe=rng.uniform(0.14, 0.24),
            sinus=rng.uniform(0.25, 0.55),
            mucosa=rng.uniform(1.0, 1.7),
        )

    @staticmethod
    def draw_t1(rng: np.random.Generator) -> Signals:
        """Draw the tissue contrast of one T1: white matter is brightest in the brain."""
        cortex = rng.uniform(0.72, 0.80)
        fat = rng.uniform(1.3, 1.8)
        return Signals(
            white=1.0,
            cortex=cortex,
            limbic=rng.uniform(-0.04, 0.0),
            caudate=cortex * rng.uniform(1.0, 1.06),
            putamen=cortex * rng.uniform(1.04, 1.12),
            pallidum=rng.uniform(0.90, 0.98),
            thalamus=rng.uniform(0.86, 0.94),
            callosum=rng.uniform(1.0, 1.06),
            brainstem=rng.uniform(0.92, 0.98),
            fluid=rng.uniform(0.16, 0.30),
            choroid=rng.uniform(0.45, 0.65),
            ependyma=0.0,
            fat=fat,
            marrow=fat * rng.uniform(0.5, 0.8),
            skin=rng.uniform(0.6, 0.9),
            muscle=rng.uniform(0.5, 0.65),
            bone=rng.uniform(0.05, 0.10),
            globe=rng.uniform(0.2, 0.3),
            sinus=rng.uniform(0.3, 0.6),
            mucosa=rng.uniform(0.5, 0.7),
        )
