"""From relative signal to stored values: point spread, bias field, noise, quantization."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.phantom.sites import Site

BIAS_TERMS = 6
POINT_SPREAD_MM = 0.55  # standard deviation within the slice


@dataclass(frozen=True)
class Acquisition:
    """The scanner's share in one image.

    Args:
        lesion_contrast: brightness of a full lesion over white matter, white matter = 1.
        noise: standard deviation of either channel of the complex noise, white matter = 1.
        white_level: stored value of white matter where the bias field is 1.
        bias: largest relative deviation of the bias field from 1.
    """

    lesion_contrast: float
    noise: float
    white_level: float
    bias: float

    @staticmethod
    def draw(rng: np.random.Generator, site: Site) -> Acquisition:
        """Draw contrast and noise that together put the contrast-to-noise ratio at 7 to 19."""
        return Acquisition(
            lesion_contrast=rng.uniform(0.55, 0.85),
            noise=rng.uniform(0.045, 0.075),
            white_level=rng.uniform(*site.white_level),
            bias=rng.uniform(0.10, 0.25),
        )

    @property
    def contrast_to_noise(self) -> float:
        """Contrast of a full lesion over white matter, in standard deviations of the noise."""
        return self.lesion_contrast / self.noise

    def record(
        self, rng: np.random.Generator, signal: NDArray[np.float32], site: Site
    ) -> NDArray[np.uint16]:
        """Turn relative signal (X, Y, Z) into stored magnitudes; without signal, Rayleigh noise."""
        seen = _blurred(signal, site)
        seen *= bias_field(rng, signal.shape, self.bias)
        noise = np.float32(self.noise)
        seen += noise * rng.standard_normal(signal.shape, np.float32)
        quadrature = noise * rng.standard_normal(signal.shape, np.float32)
        magnitude = np.hypot(seen, quadrature, out=seen)
        magnitude *= np.float32(self.white_level)
        return np.rint(np.clip(magnitude, 0, np.iinfo(np.uint16).max)).astype(np.uint16)


def bias_field(
    rng: np.random.Generator, shape: tuple[int, ...], largest: float
) -> NDArray[np.float32]:
    """Smooth gain (X, Y, Z) between 1 − largest and 1 + largest."""
    field = np.zeros(shape, np.float32)
    for _ in range(BIAS_TERMS):
        wave = np.ones((1, 1, 1), np.float32)
        for axis, size in enumerate(shape):
            turns, phase = rng.uniform(0.1, 0.8), rng.uniform(0, 2 * np.pi)
            line = np.cos(2 * np.pi * turns * np.arange(size) / size + phase)
            wave = wave * np.expand_dims(
                line.astype(np.float32), tuple(other for other in range(3) if other != axis)
            )
        field += np.float32(rng.normal()) * wave
    field -= field.mean()
    field *= np.float32(largest) / np.abs(field).max()
    return 1 + field


def _blurred(signal: NDArray[np.float32], site: Site) -> NDArray[np.float32]:
    """Convolve within slices with a Gaussian; outside the grid there is air."""
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
