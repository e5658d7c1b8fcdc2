"""Where things lie: one of the eight views, then a small rotation, scaling and shift."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wmh_runtime.evaluation.reference_masks import LESION, OTHER_PATHOLOGY
from wmh_runtime.tta import VIEWS, View
from wmh_train.augmentation.draws import Draws
from wmh_train.model.views import apply_view
from wmh_train.recipe.recipe import AugmentationSettings


def move(
    images: Tensor, targets: Tensor, settings: AugmentationSettings, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Move images and targets alike; what comes into the picture from outside is 0.

    The view is a permutation of pixels, exact to the bit. The rest is one bilinear resampling. A
    pixel of the target is then lesion where lesion is at least one half, and ignored where it is
    not, but lesion and ignored together are.

    Args:
        images: float32 [N, C, S, S].
        targets: float32 or uint8 [N, K, S, S] of 0, 1 (lesion) and 2 (ignored).
        settings: how far.
        draws: of the batch.
    """
    views = [VIEWS[number] for number in draws.integers(len(VIEWS))]
    transforms = _draw_transforms(settings, draws)
    images, targets = _seen(images, views), _seen(targets, views)
    if not (settings.rotation_degrees or settings.scale or settings.shift):
        return images, targets
    return _resampled(images, targets, transforms)


def _seen(squares: Tensor, views: list[View]) -> Tensor:
    """Look at each sample of [N, ·, S, S] in its own way."""
    seen = [apply_view(view, square) for view, square in zip(views, squares, strict=True)]
    return torch.stack(seen)


def _draw_transforms(settings: AugmentationSettings, draws: Draws) -> NDArray[np.float64]:
    """Draw affine transforms, (N, 2, 3), from where a pixel goes to where it comes from.

    In PyTorch's coordinates of a grid: (column, row), from −1 to 1 across the slice.
    """
    angle = np.radians(draws.uniform(-settings.rotation_degrees, settings.rotation_degrees))
    scale = 1 + draws.uniform(-settings.scale, settings.scale)
    right, down = 2 * draws.uniform(-settings.shift, settings.shift, 2).T
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    return np.stack([cos, -sin, right, sin, cos, down], axis=-1).reshape(-1, 2, 3)


def _resampled(
    images: Tensor, targets: Tensor, transforms: NDArray[np.float64]
) -> tuple[Tensor, Tensor]:
    labelled = [targets == LESION, targets != 0]
    layers = torch.cat([images, *labelled], dim=1)  # [N, C + 2K, S, S]: one resampling for all
    grid = F.affine_grid(
        torch.from_numpy(transforms).to(images), list(layers.shape), align_corners=False
    )
    moved = F.grid_sample(layers, grid, align_corners=False)
    outputs = targets.shape[1]
    images, lesion, either = torch.split(moved, [images.shape[1], outputs, outputs], dim=1)
    rest = (either >= 0.5).to(targets.dtype) * OTHER_PATHOLOGY
    return images, rest.masked_fill(lesion >= 0.5, LESION)
