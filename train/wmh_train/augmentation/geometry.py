"""Geometric augmentation: one of the eight views, then a small rotation, scaling and shift."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wmh_runtime.imageio.reference_masks import LESION, OTHER_PATHOLOGY
from wmh_runtime.tta import VIEWS, View
from wmh_train.augmentation.random_generators import SampleGenerators
from wmh_train.model.views import apply_view
from wmh_train.recipe.recipe import AugmentationSettings


def transform_geometry(
    images: Tensor, targets: Tensor, settings: AugmentationSettings, generators: SampleGenerators
) -> tuple[Tensor, Tensor]:
    """Transform images and targets in the same way. Pixels from outside the slice are 0.

    The view is an exact permutation of pixels. Rotation, scaling and shift are one bilinear
    resampling. After it, a pixel of labels is lesion if its share of lesion is at least one half.
    It is ignored if only its share of lesion and ignored together is at least one half. A pixel of
    probabilities is ignored if any share of it is.

    Args:
        images: float32 [N, C, S, S].
        targets: [N, K, S, S]: uint8 labels 0 background, 1 lesion, 2 ignored; or float32
            probabilities of lesion, and 2 ignored.
        settings: largest rotation, scaling and shift.
        generators: random generators of the batch.
    """
    views = [VIEWS[index] for index in generators.integers(len(VIEWS))]
    transforms = _draw_transforms(settings, generators)
    images, targets = _apply_views(images, views), _apply_views(targets, views)
    if not (settings.rotation_degrees or settings.scale or settings.shift):
        return images, targets
    return _resample(images, targets, transforms)


def _apply_views(batch: Tensor, views: list[View]) -> Tensor:
    """Apply one view to each sample of [N, ·, S, S]."""
    return torch.stack([apply_view(view, one) for view, one in zip(views, batch, strict=True)])


def _draw_transforms(
    settings: AugmentationSettings, generators: SampleGenerators
) -> NDArray[np.float64]:
    """Draw affine transforms, (N, 2, 3), that map output coordinates to input coordinates.

    Coordinates are PyTorch's grid coordinates: (column, row), from −1 to 1 across the slice.
    """
    angle = np.radians(generators.uniform(-settings.rotation_degrees, settings.rotation_degrees))
    scale = 1 + generators.uniform(-settings.scale, settings.scale)
    right, down = 2 * generators.uniform(-settings.shift, settings.shift, 2).T
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    return np.stack([cos, -sin, right, sin, cos, down], axis=-1).reshape(-1, 2, 3)


def _resample(
    images: Tensor, targets: Tensor, transforms: NDArray[np.float64]
) -> tuple[Tensor, Tensor]:
    is_ignored = targets == OTHER_PATHOLOGY
    lesions = targets.masked_fill(is_ignored, 0)
    layers = torch.cat([images, lesions, is_ignored], dim=1)  # [N, C + 2K, S, S], resampled at once
    grid = F.affine_grid(
        torch.from_numpy(transforms).to(images), list(layers.shape), align_corners=False
    )
    resampled = F.grid_sample(layers, grid, align_corners=False)
    outputs = targets.shape[1]
    images, lesion, ignored = torch.split(resampled, [images.shape[1], outputs, outputs], dim=1)
    if targets.is_floating_point():
        return images, lesion.masked_fill(ignored > 0, OTHER_PATHOLOGY)
    labels = (lesion + ignored >= 0.5).to(targets.dtype) * OTHER_PATHOLOGY
    return images, labels.masked_fill(lesion >= 0.5, LESION)
