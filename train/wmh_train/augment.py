"""Random views, shapes and contrasts of training slices, whole batches at a time.

Every draw follows from (seed, epoch, sample), so a batch looks the same however it was composed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_VIEWS = 8
_ROTATION_DEGREES = 15.0
_SCALE = 0.10
_SHIFT = 0.05  # of the slice's side
_GAMMA = (0.7, 1.5)
_CONTRAST = (0.8, 1.3)
_BRIGHTNESS = 0.15  # standard deviations of the head's intensity
_NOISE = (0.01, 0.08)  # likewise


def augment(
    images: Tensor, targets: Tensor, *, seed: int, epoch: int, samples: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Augment a batch.

    Args:
        images: [N, C, S, S], z-scored, 0 outside the head.
        targets: [N, K, S, S], 0 or 1.
        seed: of the training.
        epoch: number of the epoch.
        samples: N numbers, each slice's place in the data set.

    Returns:
        Images and targets, turned, bent and shifted alike; intensities of the images changed.
    """
    draws = [np.random.default_rng([seed, epoch, sample]) for sample in samples]
    transforms = torch.stack([_transform(draw) for draw in draws])
    grid = F.affine_grid(transforms, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, align_corners=False)
    targets = (F.grid_sample(targets, grid, align_corners=False) >= 0.5).to(targets.dtype)
    images = torch.stack([_recontrast(i, d) for i, d in zip(images, draws, strict=True)])
    return images, targets


def _transform(draw: np.random.Generator) -> Tensor:
    """Draw one of the eight symmetries with a small rotation, scaling and shift, (2, 3)."""
    view = int(draw.integers(_VIEWS))
    angle = math.radians(draw.uniform(-_ROTATION_DEGREES, _ROTATION_DEGREES))
    angle += (view % 4) * math.pi / 2
    scale = 1 + draw.uniform(-_SCALE, _SCALE)
    mirror = -1 if view >= 4 else 1
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    right, down = draw.uniform(-2 * _SHIFT, 2 * _SHIFT, size=2)  # the grid's side is 2 long
    return torch.tensor([[mirror * cos, -sin, right], [mirror * sin, cos, down]]).float()


def _recontrast(image: Tensor, draw: np.random.Generator) -> Tensor:
    """Change gamma, contrast, brightness and noise of one slice [C, S, S], head only."""
    head = image != 0
    low, high = image.min(), image.max()
    width = torch.clamp(high - low, min=1e-6)
    image = ((image - low) / width) ** draw.uniform(*_GAMMA) * width + low
    image = image * draw.uniform(*_CONTRAST) + draw.uniform(-_BRIGHTNESS, _BRIGHTNESS)
    noise = torch.from_numpy(draw.standard_normal(image.shape, dtype=np.float32))
    return (image + noise * draw.uniform(*_NOISE)) * head
