"""Intensity augmentation: differences between scanners, coils and sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wmh_train.augmentation.random_generators import SampleGenerators
from wmh_train.recipe.recipe import AugmentationSettings

_LOWEST_RESOLUTION = 0.5  # relative to the slice
_FIELD_DEGREE = 3
_SMALLEST_RANGE = 1e-6  # of intensities; avoids division by 0 in gamma


def transform_intensity(
    images: Tensor, settings: AugmentationSettings, generators: SampleGenerators
) -> Tensor:
    """Change resolution, bias field, gamma, contrast, brightness and noise, in this order.

    This is the order in which an image is made: sampling, coil sensitivity, display. Noise comes
    last, so it is not blurred. Each channel has its own random numbers. Pixels that are exactly 0
    are outside the head and stay 0.

    Args:
        images: float32 [N, C, S, S], z-scored, 0 outside the head.
        settings: how large the changes are.
        generators: random generators of the batch.

    Returns:
        New images of the same shape.
    """
    channels, side = images.shape[1:3]

    def draw(lowest: float, highest: float) -> Tensor:  # [N, C, 1, 1]
        return _like(images, generators.uniform(lowest, highest, channels, 1, 1))

    coarse = generators.uniform(0, 1, channels) < settings.low_resolution
    sides = np.rint(side * generators.uniform(_LOWEST_RESOLUTION, 1, channels)).astype(int)
    coefficients = generators.uniform(-1, 1, channels, _FIELD_DEGREE + 1, _FIELD_DEGREE + 1)
    gamma, contrast = draw(*settings.gamma), draw(*settings.contrast)
    brightness = draw(-settings.brightness, settings.brightness)
    noise = draw(*settings.noise)

    changed = _reduce_resolution(images, coarse, sides)
    if settings.bias_field:
        changed = _apply_bias_field(
            changed, _bias_field(settings.bias_field * coefficients, images)
        )
    if settings.gamma != (1, 1):
        changed = _apply_gamma(changed, gamma)
    changed = changed * contrast + brightness
    if any(settings.noise):
        changed = torch.stack(
            [
                image + deviation * normal.to(image.device)
                for image, deviation, normal in zip(
                    changed, noise, generators.normal(channels, side, side), strict=True
                )
            ]
        )
    return changed.masked_fill(images == 0, 0)


def _reduce_resolution(
    images: Tensor, coarse: NDArray[np.bool_], sides: NDArray[np.int_]
) -> Tensor:
    """Resample the channels marked in `coarse`, (N, C), to a coarser grid and back."""
    changed = images.clone()
    for sample, channel in np.argwhere(coarse):
        sharp = images[sample, channel][None, None]
        side = int(sides[sample, channel])
        blurred = F.interpolate(sharp, (side, side), mode="bilinear", antialias=True)
        changed[sample, channel] = F.interpolate(blurred, sharp.shape[-2:], mode="bilinear")[0, 0]
    return changed


def _bias_field(coefficients: NDArray[np.float64], images: Tensor) -> Tensor:
    """Return smooth positive fields around 1, [N, C, S, S].

    exp Σ c_ij P_i(row) P_j(column) over 1 ≤ i + j ≤ 3, with P_i the Legendre polynomials on
    [−1, 1] (Van Leemput et al. 1999). There is no constant term, because that would change the
    contrast. MONAI's RandBiasField has only terms with j ≤ i, so none of its fields varies only
    along the columns.
    """
    degrees = np.arange(_FIELD_DEGREE + 1)
    degree = degrees[:, None] + degrees
    kept = coefficients * ((degree >= 1) & (degree <= _FIELD_DEGREE))
    positions = np.linspace(-1, 1, images.shape[-1])
    polynomials = _like(
        images, np.polynomial.legendre.legvander(positions, _FIELD_DEGREE)
    )  # (S, 4)
    return (polynomials @ _like(images, kept) @ polynomials.T).exp()


def _apply_bias_field(images: Tensor, field: Tensor) -> Tensor:
    """Multiply by a field. The darkest pixel counts as 0, because z-scores have no zero signal."""
    lowest = images.amin((-2, -1), keepdim=True)
    return (images - lowest) * field + lowest


def _apply_gamma(images: Tensor, gamma: Tensor) -> Tensor:
    """Apply the exponent gamma within the intensity range, like MONAI's AdjustContrast."""
    low, high = images.amin((-2, -1), keepdim=True), images.amax((-2, -1), keepdim=True)
    width = (high - low).clamp(min=_SMALLEST_RANGE)
    return ((images - low) / width) ** gamma * width + low


def _like(images: Tensor, values: NDArray[Any]) -> Tensor:
    """Convert numbers to the device and dtype of the images."""
    return torch.from_numpy(values).to(images)
