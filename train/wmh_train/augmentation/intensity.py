"""Intensity augmentation: differences between scanners and sequences."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from wmh_train.augmentation.random_generators import SampleGenerators
from wmh_train.recipe.recipe import AugmentationSettings

_SMALLEST_RANGE = 1e-6  # of intensities; avoids division by 0 in gamma


def transform_intensity(
    images: Tensor,
    context_slices: int,
    settings: AugmentationSettings,
    generators: SampleGenerators,
) -> Tensor:
    """Change gamma, contrast, brightness and noise, in this order.

    Each image has its own random numbers; its slice and the neighbors have the same ones, but for
    noise. Pixels that are exactly 0 are outside the head and stay 0.

    Args:
        images: float32 [N, C, S, S], normalized, 0 outside the head.
        context_slices: neighbors on each side of a slice, which are channels too.
        settings: how large the changes are.
        generators: random generators of the batch.

    Returns:
        New images of the same shape.
    """
    channels, side = images.shape[1:3]
    group = 1 + 2 * context_slices

    def draw(lowest: float, highest: float) -> Tensor:  # [N, C, 1, 1]
        of_images = _like(images, generators.uniform(lowest, highest, channels // group, 1, 1))
        return of_images.repeat_interleave(group, dim=1)

    gamma, contrast = draw(*settings.gamma), draw(*settings.contrast)
    brightness = draw(-settings.brightness, settings.brightness)
    noise = draw(*settings.noise)

    changed = images
    if settings.gamma != (1, 1):
        changed = _apply_gamma(changed, gamma, group)
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


def _apply_gamma(images: Tensor, gamma: Tensor, group: int) -> Tensor:
    """Apply the exponent gamma within the intensity range, like MONAI's AdjustContrast.

    The range is that of a slice and its neighbors, `group` channels.
    """
    grouped = images.reshape(len(images), -1, group, *images.shape[2:])
    low, high = (
        limit(dim=(-3, -2, -1), keepdim=True).flatten(1, 2).repeat_interleave(group, dim=1)
        for limit in (grouped.amin, grouped.amax)
    )
    width = (high - low).clamp(min=_SMALLEST_RANGE)
    return ((images - low) / width) ** gamma * width + low


def _like(images: Tensor, values: NDArray[Any]) -> Tensor:
    """Convert numbers to the device and dtype of the images."""
    return torch.from_numpy(values).to(images)
