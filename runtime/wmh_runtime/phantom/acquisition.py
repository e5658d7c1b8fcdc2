"""Simulate the acquisition: point spread, bias field, noise, quantization."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.phantom.sites import Site

BIAS_FIELD_TERMS = 6
POINT_SPREAD_MM = 0.55  # standard deviation, within slices


@dataclass(frozen=True)
class Acquisition:
    """Parameters of one acquisition.

    Args:
        lesion_contrast: signal of a lesion minus signal of white matter; white matter = 1.
        noise: standard deviation of the real and of the imaginary noise; white matter = 1.
        white_level: stored value of white matter without bias field.
        bias: largest deviation of the bias field from 1.
    """

    lesion_contrast: float
    noise: float
    white_level: float
    bias: float

    @staticmethod
    def draw(rng: np.random.Generator, site: Site) -> Acquisition:
        """Draw contrast and noise; the contrast-to-noise ratio is between 7 and 19."""
        return Acquisition(
            lesion_contrast=rng.uniform(0.55, 0.85),
            noise=rng.uniform(0.045, 0.075),
            white_level=rng.uniform(*site.white_level),
            bias=rng.uniform(0.10, 0.25),
        )

    @property
    def contrast_to_noise(self) -> float:
        """Contrast between lesion and white matter, in standard deviations of the noise."""
        return self.lesion_contrast / self.noise

    def acquire(
        self, rng: np.random.Generator, signal: NDArray[np.float32], site: Site
    ) -> NDArray[np.uint16]:
        """Return stored magnitudes for a relative signal (X, Y, Z); Rayleigh noise in the air."""
        real = _blurred(signal, site)
        real *= bias_field(rng, signal.shape, self.bias)
        noise = np.float32(self.noise)
        real += noise * rng.standard_normal(signal.shape, np.float32)
        imaginary = noise * rng.standard_normal(signal.shape, np.float32)
        magnitude = np.hypot(real, imaginary, out=real)
        magnitude *= np.float32(self.white_level)
        return np.rint(np.clip(magnitude, 0, np.iinfo(np.uint16).max)).astype(np.uint16)


def bias_field(
    rng: np.random.Generator, shape: tuple[int, ...], largest: float
) -> NDArray[np.float32]:
    """Return a smooth gain (X, Y, Z) between 1 − largest and 1 + largest."""
    field = np.zeros(shape, np.float32)
    for _ in range(BIAS_FIELD_TERMS):
        wave = np.ones((1, 1, 1), np.float32)
        for axis, size in enumerate(shape):
            cycles, phase = rng.uniform(0.1, 0.8), rng.uniform(0, 2 * np.pi)
            line = np.cos(2 * np.pi * cycles * np.arange(size) / size + phase)
            wave = wave * np.expand_dims(
                line.astype(np.float32), tuple(other for other in range(3) if other != axis)
            )
        field += np.float32(rng.normal()) * wave
    field -= field.mean()
    field *= np.float32(largest) / np.abs(field).max()
    return 1 + field


def _blurred(signal: NDArray[np.float32], site: Site) -> NDArray[np.float32]:
    """Convolve with a Gaussian within slices; outside the grid is air."""
    out = signal
    for axis in (0, 1):
        spread = POINT_SPREAD_MM / site.spacing_mm[axis]
        taps = np.exp(-0.5 * (np.arange(-2, 3) / spread) ** 2)
        taps /= taps.sum()
        pad = [(2, 2) if other == axis else (0, 0) for other in range(3)]
        padded = np.pad(out, pad)
        size = signal.shape[axis]
        out = np.zeros_like(signal)
        for start, tap in enumerate(taps.astype(np.float32)):
            out += tap * np.take(padded, range(start, start + size), axis=axis)
    return out
