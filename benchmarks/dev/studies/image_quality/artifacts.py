"""Artifacts of known strength, added to a scan.

Each function takes a stack (slices, rows, columns) in the order of the acquired slices, and returns
another one. Background that was not measured stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wmh_runtime.image_quality.slices import Slices
from wmh_runtime.phantom.acquisition import bias_field
from wmh_runtime.types import Floats

_MOVES = 4  # positions of the head during one scan
_ECHO_TRAINS = 16  # of a slice; neighboring lines of k-space belong to different ones
_FWHM_PER_SIGMA = 2.355

Apply = Callable[[Slices, float, np.random.Generator], Floats]


@dataclass(frozen=True)
class Artifact:
    """One kind of artifact."""

    unit: str  # of the strength
    strengths: tuple[float, ...]
    apply: Apply
    only_thick_slices: bool = False


def ghosts(slices: Slices, strength: float, rng: np.random.Generator) -> Floats:
    """Add two copies of the image, moved along one axis, as a pulsation between lines does.

    The lines of k-space are multiplied by 1 + 2 · strength · exp(i φ) · cos(2π d k / N).
    """
    stack, axis = slices.stack, int(rng.integers(1, 3))
    size = stack.shape[axis]
    distance = int(rng.uniform(0.2, 0.5) * size)
    copies = np.roll(stack, distance, axis) + np.roll(stack, -distance, axis)
    phase = rng.uniform(0, 2 * np.pi)
    ghost = np.float32(strength) * copies
    found = np.hypot(stack + ghost * np.float32(np.cos(phase)), ghost * np.float32(np.sin(phase)))
    return _where_measured(slices, found)


def motion(slices: Slices, strength: float, rng: np.random.Generator) -> Floats:
    """Move the head within the slices between the echo trains of a scan.

    Strength: standard deviation of the moves along rows and columns in mm, and of the angle in
    degrees.
    """
    axis = int(rng.integers(1, 3))
    lines = np.arange(slices.stack.shape[axis])
    pose_of_train = np.sort(rng.integers(0, _MOVES, _ECHO_TRAINS))
    pose_of_line = pose_of_train[lines % _ECHO_TRAINS]
    spectrum = np.zeros(slices.stack.shape, np.complex64)
    for pose in range(_MOVES):
        moved = _moved(slices, rng.normal(0, strength, 3)) if pose else slices.stack
        of_pose = np.fft.ifftshift(pose_of_line == pose)
        at = tuple(of_pose if one == axis else slice(None) for one in range(3))
        spectrum[at] = np.fft.fft(moved, axis=axis)[at]
    return _where_measured(slices, np.abs(np.fft.ifft(spectrum, axis=axis)).astype(np.float32))


def moved_slices(slices: Slices, strength: float, rng: np.random.Generator) -> Floats:
    """Move the head after every second slice was acquired; strength as for `motion`."""
    signs = rng.choice([-1, 1], 3)
    found = slices.stack.copy()
    found[1::2] = _moved(slices, signs * strength)[1::2]
    return found


def banding(slices: Slices, strength: float, rng: np.random.Generator) -> Floats:
    """Make every second slice darker by a share, as without a gap between them."""
    found = slices.stack.copy()
    found[int(rng.integers(2)) :: 2] *= np.float32(1 - strength)
    return found


def noise(slices: Slices, strength: float, rng: np.random.Generator) -> Floats:
    """Add noise to the real and imaginary parts; strength: standard deviation by white matter."""
    found = _noisy(slices.stack, strength * _level(slices), rng)
    return _where_measured(slices, found)


def interpolated_noise(slices: Slices, strength: float, rng: np.random.Generator) -> Floats:
    """Add noise to an image of half as many rows and columns, which is then interpolated."""
    noisy = _noisy(slices.stack[:, ::2, ::2], strength * _level(slices), rng)
    return _where_measured(slices, _zero_filled(noisy, slices.stack.shape))


def bias(slices: Slices, strength: float, rng: np.random.Generator) -> Floats:
    """Multiply with a smooth field between 1 − strength and 1 + strength."""
    return slices.stack * bias_field(rng, slices.stack.shape, strength)


def blur(slices: Slices, strength: float, rng: np.random.Generator) -> Floats:  # noqa: ARG001
    """Convolve with a Gaussian within the slices; strength: full width at half maximum in mm."""
    return _where_measured(slices, _smooth(slices, strength))


ARTIFACTS: Mapping[str, Artifact] = MappingProxyType(
    {
        "ghosts": Artifact("of the signal", (0.02, 0.05, 0.1, 0.2), ghosts),
        "motion": Artifact("mm and degrees", (1, 2, 3, 5), motion),
        "moved slices": Artifact("mm and degrees", (0.5, 1, 2), moved_slices, True),
        "banding": Artifact("of the signal", (0.03, 0.06, 0.1), banding, True),
        "noise": Artifact("of white matter", (0.05, 0.1, 0.15, 0.2), noise),
        "interpolated noise": Artifact("of white matter", (0.1, 0.15, 0.2), interpolated_noise),
        "bias": Artifact("of the signal", (0.2, 0.3, 0.4, 0.6), bias),
        "blur": Artifact("mm", (2, 3, 4), blur),
    }
)


def _level(slices: Slices) -> float:
    """Return the intensity of white matter; undamaged scans have one."""
    if slices.white_level is None:
        raise ValueError("the intensities of the scan have an offset")
    return slices.white_level


def _moved(slices: Slices, pose: NDArray[np.float64]) -> Floats:
    """Return the stack moved along rows and columns by mm, and turned by degrees."""
    rows_mm, columns_mm, degrees = pose
    angle = np.radians(degrees)
    spacing = np.array(slices.spacing_mm[1:])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn * spacing / spacing[:, None]  # from pixels to pixels
    center = (np.array(slices.stack.shape[1:]) - 1) / 2
    offset = center - matrix @ center + np.array([rows_mm, columns_mm]) / spacing
    return np.stack(
        [ndimage.affine_transform(one, matrix, offset, order=1) for one in slices.stack]
    )


def _noisy(stack: Floats, sigma: float, rng: np.random.Generator) -> Floats:
    real, imaginary = (sigma * rng.standard_normal(stack.shape, np.float32) for _ in range(2))
    return np.hypot(stack + real, imaginary)


def _smooth(slices: Slices, fwhm_mm: float) -> Floats:
    sigmas = [fwhm_mm / _FWHM_PER_SIGMA / mm for mm in slices.spacing_mm[1:]]
    return ndimage.gaussian_filter(slices.stack, (0.0, *sigmas))


def _zero_filled(stack: Floats, shape: tuple[int, ...]) -> Floats:
    """Interpolate within slices by filling k-space with zeros."""
    spectrum = np.fft.fftshift(np.fft.fft2(stack), axes=(1, 2))
    # The middle of k-space, index size // 2, stays in the middle.
    before = [new // 2 - old // 2 for old, new in zip(stack.shape, shape, strict=True)]
    widths = [
        (first, new - old - first)
        for first, old, new in zip(before, stack.shape, shape, strict=True)
    ]
    filled = np.fft.ifftshift(np.pad(spectrum, widths), axes=(1, 2))
    gain = math.prod(shape[1:]) / math.prod(stack.shape[1:])
    return (gain * np.abs(np.fft.ifft2(filled))).astype(np.float32)


def _where_measured(slices: Slices, found: Floats) -> Floats:
    return np.where(slices.background, slices.stack, found).astype(np.float32)
