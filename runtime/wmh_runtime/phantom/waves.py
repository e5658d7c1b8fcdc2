"""Random fields as sums of plane waves: smooth, reproducible and fast to evaluate at any point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.phantom.shapes import TINY, Field, Points, norm

# Points per chunk: the arrays of one chunk fit into the CPU cache.
CHUNK = 16384


@dataclass(frozen=True)
class WaveField:
    """A sum of plane waves with zero mean and unit variance.

    Args:
        wave_vectors: (M, 3) float32, radians per mm.
        phases: (M,) float32, radians.
    """

    wave_vectors: NDArray[np.float32]
    phases: NDArray[np.float32]

    @staticmethod
    def draw(
        rng: np.random.Generator, count: int, wavelength_mm: float, spread: float = 0.15
    ) -> WaveField:
        """Draw waves with random directions and phases.

        Args:
            rng: random generator.
            count: number of waves; 12 are enough for an irregular field.
            wavelength_mm: median wavelength.
            spread: standard deviation of the logarithm of the wavelength.
        """
        directions = rng.standard_normal((count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = wavelength_mm * np.exp(spread * rng.standard_normal((count, 1)))
        return WaveField(
            (2 * np.pi * directions / lengths).astype(np.float32),
            rng.uniform(0, 2 * np.pi, count).astype(np.float32),
        )

    @property
    def wave_number(self) -> float:
        """Root mean square length of the wave vectors, radians per mm."""
        return float(np.sqrt(np.mean(np.sum(self.wave_vectors**2, axis=1))))

    def value(self, points: Points) -> Field:
        """Return the field at (3, N) points."""
        out = np.zeros(points.shape[1], np.float32)
        for part in _chunks(points.shape[1]):
            x, y, z = points[:, part]
            for (kx, ky, kz), phase in zip(self.wave_vectors, self.phases, strict=True):
                out[part] += np.sin(kx * x + ky * y + kz * z + phase)
        out *= self._amplitude
        return out

    def value_and_gradient(self, points: Points) -> tuple[Field, Points]:
        """Return the field at (3, N) points and its gradient (3, N) per mm."""
        out = np.zeros(points.shape[1], np.float32)
        gradient = np.zeros_like(points)
        for part in _chunks(points.shape[1]):
            x, y, z = points[:, part]
            for (kx, ky, kz), phase in zip(self.wave_vectors, self.phases, strict=True):
                angle = kx * x + ky * y + kz * z + phase
                out[part] += np.sin(angle)
                slope = np.cos(angle, out=angle)
                gradient[0, part] += kx * slope
                gradient[1, part] += ky * slope
                gradient[2, part] += kz * slope
        out *= self._amplitude
        gradient *= self._amplitude
        return out, gradient

    @property
    def _amplitude(self) -> np.float32:
        return np.float32(np.sqrt(2 / len(self.phases)))


def sheet_distance(value: Field, gradient: Points, wave_number: float) -> Field:
    """Return the approximate distance in mm to the surface where a narrow-band field n is zero.

    |n|/|∇n| is accurate near the surface but infinite at a crest. For a single wave sin(kx) the
    exact distance is arctan(k |n|/|∇n|) / k. This formula is used for all fields.
    """
    k = np.float32(wave_number)
    steepness = np.maximum(norm(gradient), TINY)
    distance: Field = np.arctan(k * np.abs(value) / steepness)
    distance /= k
    return distance


def _chunks(count: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
