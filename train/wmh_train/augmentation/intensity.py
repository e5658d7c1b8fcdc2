"""How bright things are: what another scanner, coil or sequence might have made of a slice."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wmh_train.augmentation.draws import Draws
from wmh_train.recipe.recipe import AugmentationSettings

_COARSEST = 0.5  # share of the resolution that is left
_FIELD_DEGREE = 3
_NARROWEST = 1e-6  # range of intensities; keeps gamma from dividing by 0


def change_intensity(images: Tensor, settings: AugmentationSettings, draws: Draws) -> Tensor:
    """Change resolution, sensitivity, gamma, contrast, brightness and noise, in this order.

    Anatomy is sampled, then weighted by the coil, then displayed; noise is not blurred. Every
    channel draws for itself. What is exactly 0 lies outside the head and stays 0.

    Args:
        images: float32 [N, C, S, S], z-scored, 0 outside the head.
        settings: how much.
        draws: of the batch.

    Returns:
        New images of the same shape.
    """
    channels, side = images.shape[1:3]

    def drawn(lowest: float, highest: float) -> Tensor:  # [N, C, 1, 1]
        return _like(images, draws.uniform(lowest, highest, channels, 1, 1))

    coarse = draws.uniform(0, 1, channels) < settings.low_resolution
    sides = np.rint(side * draws.uniform(_COARSEST, 1, channels)).astype(int)
    coefficients = draws.uniform(-1, 1, channels, _FIELD_DEGREE + 1, _FIELD_DEGREE + 1)
    gamma, contrast = drawn(*settings.gamma), drawn(*settings.contrast)
    brightness = drawn(-settings.brightness, settings.brightness)
    noise = drawn(*settings.noise)

    changed = _coarsened(images, coarse, sides)
    if settings.bias_field:
        changed = _weighted(changed, _field(settings.bias_field * coefficients, images))
    if settings.gamma != (1, 1):
        changed = _bent(changed, gamma)
    changed = changed * contrast + brightness
    if any(settings.noise):
        changed = torch.stack(
            [
                image + deviation * normal.to(image.device)
                for image, deviation, normal in zip(
                    changed, noise, draws.normal(channels, side, side), strict=True
                )
            ]
        )
    return changed.masked_fill(images == 0, 0)


def _coarsened(images: Tensor, coarse: NDArray[np.bool_], sides: NDArray[np.int_]) -> Tensor:
    """Resample chosen channels, (N, C), to a grid of another side, averaging, and back."""
    changed = images.clone()
    for sample, channel in np.argwhere(coarse):
        sharp = images[sample, channel][None, None]
        side = int(sides[sample, channel])
        blurred = F.interpolate(sharp, (side, side), mode="bilinear", antialias=True)
        changed[sample, channel] = F.interpolate(blurred, sharp.shape[-2:], mode="bilinear")[0, 0]
    return changed


def _field(coefficients: NDArray[np.float64], images: Tensor) -> Tensor:
    """Return smooth positive fields around 1, [N, C, S, S].

    exp Σ c_ij P_i(row) P_j(column) over 1 ≤ i + j ≤ 3, P_i the Legendre polynomials on [−1, 1]
    (Van Leemput et al. 1999). A constant term would be a change of contrast. MONAI's RandBiasField
    has the terms of j ≤ i instead, so that none of its fields varies along the columns alone.
    """
    degrees = np.arange(_FIELD_DEGREE + 1)
    degree = degrees[:, None] + degrees
    kept = coefficients * ((degree >= 1) & (degree <= _FIELD_DEGREE))
    places = np.linspace(-1, 1, images.shape[-1])
    polynomials = _like(images, np.polynomial.legendre.legvander(places, _FIELD_DEGREE))  # (S, 4)
    return (polynomials @ _like(images, kept) @ polynomials.T).exp()


def _weighted(images: Tensor, field: Tensor) -> Tensor:
    """Multiply by a field, counted from the darkest pixel, as z-scores have no zero signal."""
    low = images.amin((-2, -1), keepdim=True)
    return (images - low) * field + low


def _bent(images: Tensor, gamma: Tensor) -> Tensor:
    """Raise to the power gamma within the range of intensities, as MONAI's AdjustContrast."""
    low, high = images.amin((-2, -1), keepdim=True), images.amax((-2, -1), keepdim=True)
    width = (high - low).clamp(min=_NARROWEST)
    return ((images - low) / width) ** gamma * width + low


def _like(images: Tensor, values: NDArray[Any]) -> Tensor:
    """Take numbers to the device and the precision of the images."""
    return torch.from_numpy(values).to(images)
