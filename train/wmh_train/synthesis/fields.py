"""Random fields and filters on volumes, in PyTorch: one thread is fast, and a GPU is faster."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from wmh_train.synthesis.draws import Draws


def smooth_field(draws: Draws, shape: tuple[int, ...], scale_mm: float) -> Tensor:
    """Return a field (X, Y, Z) of normal values that change over a distance, on a grid of 1 mm.

    Values at points `scale_mm` apart are independent; between them they are interpolated. The
    standard deviation is 1 on average.
    """
    coarse = [max(2, math.ceil(size / scale_mm) + 1) for size in shape]
    values = draws.normal(*coarse)
    field = F.interpolate(values[None, None], size=shape, mode="trilinear", align_corners=True)
    return field[0, 0] / field.std().clamp_min(1e-6)


def blur(volume: Tensor, sigmas: tuple[float, float, float]) -> Tensor:
    """Blur a volume (X, Y, Z) with a Gaussian; standard deviations in voxels, 0: not at all."""
    for axis, sigma in enumerate(sigmas):
        if sigma > 0:
            volume = _blur_axis(volume, axis, sigma)
    return volume


def _blur_axis(volume: Tensor, axis: int, sigma: float) -> Tensor:
    radius = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=volume.dtype, device=volume.device)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    size = volume.shape[axis]
    result = volume * weights[radius]
    for step in range(1, min(radius, size - 1) + 1):
        weight = weights[radius + step]
        inner, outer = volume.narrow(axis, 0, size - step), volume.narrow(axis, step, size - step)
        result.narrow(axis, 0, size - step).add_(outer, alpha=float(weight))
        result.narrow(axis, step, size - step).add_(inner, alpha=float(weight))
    return result
