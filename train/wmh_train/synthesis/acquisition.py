"""What the scanner makes of a head: voxels, shading, noise, motion, stored values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmh_runtime.preprocessing.slices.resampling import Samples, resampling_matrix
from wmh_train.recipe.synthesis import AcquisitionSettings
from wmh_train.synthesis.anatomy import Anatomy
from wmh_train.synthesis.draws import Draws
from wmh_train.synthesis.fields import blur, smooth_field

_ISOTROPIC_MM = (0.9, 1.3)
_WHITE_LEVEL = (150, 1500)  # the stored value of white matter
_HIGHEST_VALUE = 32000


@dataclass(frozen=True, eq=False)
class Voxels:
    """The voxel grid of a scan, and how volumes on the grid of 1 mm are brought to it.

    Attributes:
        matrices: for each axis, (voxels of the scan, voxels of 1 mm).
        spacing_mm: of the scan.
    """

    matrices: tuple[Tensor, Tensor, Tensor]
    spacing_mm: tuple[float, float, float]

    def resample(self, volume: Tensor) -> Tensor:
        """Average a volume (X, Y, Z) over the voxels of the scan."""
        x, y, z = self.matrices
        volume = torch.einsum("kz,xyz->xyk", z, volume.float())
        volume = torch.einsum("jy,xyk->xjk", y, volume)
        return torch.einsum("ix,xjk->ijk", x, volume)


def draw_voxels(shape: tuple[int, int, int], settings: AcquisitionSettings, draws: Draws) -> Voxels:
    """Draw the voxel grid of a scan: isotropic, or thick axial slices with gaps."""
    if draws.chance(settings.isotropic_share):
        spacing = (draws.uniform(_ISOTROPIC_MM),) * 3
        gap = 0.0
    else:
        pixel = draws.uniform(settings.pixel_mm)
        spacing = (pixel, pixel, draws.uniform(settings.thickness_mm))
        gap = draws.uniform(settings.gap_share)
    x, y = (
        torch.from_numpy(
            resampling_matrix(Samples(size, 1.0), Samples(int(size / mm), mm, mm / 2 - 0.5))
        )
        for size, mm in zip(shape[:2], spacing[:2], strict=True)
    )
    return Voxels((x, y, _slice_matrix(shape[2], spacing[2], gap, draws)), spacing)


def _slice_matrix(size: int, distance_mm: float, gap: float, draws: Draws) -> Tensor:
    """Return the weights of 1 mm planes in each slice: those within its thickness."""
    first = draws.uniform((0, distance_mm))
    centers = np.arange(first, size - 1, distance_mm)
    half = max(0.5, distance_mm * (1 - gap) / 2)
    planes = np.arange(size)
    overlap = np.clip(half + 0.5 - abs(centers[:, None] - planes), 0, 1)
    return torch.from_numpy((overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32))


def acquire(
    signal: Tensor,
    anatomy: Anatomy,
    voxels: Voxels,
    brain_margin_mm: float | None,
    settings: AcquisitionSettings,
    draws: Draws,
) -> NDArray[np.int16]:
    """Return the stored values of a scan.

    Args:
        signal: float32 (X, Y, Z) at 1 mm, white matter 1.
        anatomy: of the head.
        voxels: the grid of the scan.
        brain_margin_mm: what was left around the brain; None: the whole head.
        settings: ranges.
        draws: of this head.
    """
    sigma = draws.uniform(settings.blur_mm)
    image = voxels.resample(blur(signal, (sigma, sigma, 0)))
    image = image * _shading(image.shape, voxels.spacing_mm, settings, draws)
    if draws.chance(settings.ghost_share):
        image = _with_ghosts(image, draws)
    noise = draws.log_uniform(settings.noise)
    if draws.chance(0.5):
        noise_field = blur(draws.normal(*image.shape), (0.6, 0.6, 0))
        real = image + noise * noise_field / noise_field.std()
    else:
        real = image + noise * draws.normal(*image.shape)
    image = torch.sqrt(real**2 + (noise * draws.normal(*image.shape)) ** 2)
    image = (image / 1.5) ** draws.uniform(settings.gamma) * 1.5
    if brain_margin_mm is not None:
        image = image * (voxels.resample(anatomy.from_brain_mm <= brain_margin_mm) >= 0.5)
    values = (image * draws.uniform(_WHITE_LEVEL)).clamp(0, _HIGHEST_VALUE).round()
    return cast(NDArray[np.int16], values.numpy().astype(np.int16))


def _shading(
    shape: tuple[int, ...],
    spacing_mm: tuple[float, float, float],
    settings: AcquisitionSettings,
    draws: Draws,
) -> Tensor:
    """Return the smooth shading of the coil, 1 on average."""
    strength = draws.uniform(settings.bias)
    coarse = tuple(max(2, round(n * mm / 10)) for n, mm in zip(shape, spacing_mm, strict=True))
    field = smooth_field(draws, coarse, 6)  # 6 points of 10 mm
    fine = torch.nn.functional.interpolate(field[None, None], shape, mode="trilinear")[0, 0]
    return torch.exp(strength / 2 * fine)


def _with_ghosts(image: Tensor, draws: Draws) -> Tensor:
    """Add weak copies of the head, shifted along one axis, as motion makes them."""
    axis = int(draws.rng.integers(2))
    shift = image.shape[axis] // int(draws.rng.integers(2, 5))
    strength = draws.uniform((0.02, 0.1))
    return image + strength * (image.roll(shift, axis) + image.roll(-shift, axis)) / 2
