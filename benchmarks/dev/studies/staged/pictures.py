"""Weights for the VGG16 encoder of the study, learned from drawn pictures instead of photographs.

The published method starts from weights of ImageNet. Where these are not at hand, VGG16 learns to
tell twelve kinds of drawn pictures apart: four shapes, each with three textures. This is a
stand-in: its features are far simpler than those learned from photographs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from wmh_runtime.files.atomic import atomic_path
from wmh_train.model.convolutional.vgg16_unet import COLOR_MEANS, COLOR_SPREADS, Vgg16Encoder

SHAPES, TEXTURES = 4, 3
_SIDE_PX = 64
_BATCH = 16
_LEARNING_RATE = 1e-3


def draw_picture(kind: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw a gray picture from 0 to 1, (64, 64): a shape with a texture on a shaded background.

    Args:
        kind: below `SHAPES * TEXTURES`.
        rng: of position, size, direction, brightness and noise.
    """
    shape, texture = divmod(kind, TEXTURES)
    y, x = np.mgrid[:_SIDE_PX, :_SIDE_PX] / _SIDE_PX - rng.uniform(0.35, 0.65, (2, 1, 1))
    turn = rng.uniform(0, 2 * np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    size = rng.uniform(0.15, 0.3)
    distance = np.hypot(u, v)
    inside = (
        distance < size,  # disc
        (distance < size) & (distance > 0.6 * size),  # ring
        (abs(u) < size) & (abs(v) < 0.35 * size),  # bar
        (abs(u) < size) & (abs(v) < size) & (abs(abs(u) - abs(v)) < 0.3 * size),  # cross
    )[shape]
    period = rng.uniform(0.04, 0.1)
    pattern = (
        np.ones_like(u),  # even
        np.sin(2 * np.pi * u / period) > 0,  # stripes
        np.sin(2 * np.pi * u / period) * np.sin(2 * np.pi * v / period) > 0,  # squares
    )[texture]
    shading = rng.uniform(0.2, 0.5) + rng.uniform(-0.3, 0.3) * u
    contrast = rng.uniform(0.3, 0.5) * rng.choice([-1, 1])
    picture = np.where(inside, shading + contrast * (2 * pattern - 1), shading)
    noisy = picture + rng.normal(0, rng.uniform(0.01, 0.06), picture.shape)
    return noisy.clip(0, 1).astype(np.float32)


def write_weights(
    path: Path, steps: int, on_step: Callable[[int, float], None], seed: int = 42
) -> None:
    """Train VGG16 on drawn pictures, and write its weights in the format of torchvision.

    Args:
        path: file to write, if it is not there.
        steps: of 16 pictures each.
        on_step: called with the step, from 1, and the share of its pictures that were recognized.
        seed: of weights and pictures.
    """
    if path.exists():
        return
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    encoder = Vgg16Encoder(channels=3)
    classify = nn.Linear(512, SHAPES * TEXTURES)
    parameters = [*encoder.parameters(), *classify.parameters()]
    optimizer = torch.optim.AdamW(parameters, _LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    means, spreads = (torch.tensor(one)[:, None, None] for one in (COLOR_MEANS, COLOR_SPREADS))
    encoder.train()
    for step in range(1, steps + 1):
        kinds = rng.integers(0, SHAPES * TEXTURES, _BATCH)
        pictures = torch.from_numpy(np.stack([draw_picture(int(kind), rng) for kind in kinds]))
        scores = classify(encoder((pictures[:, None] - means) / spreads)[-1].mean(dim=(2, 3)))
        target = torch.from_numpy(kinds)
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(scores, target))
        optimizer.step()
        schedule.step()
        on_step(step, float((scores.argmax(dim=1) == target).float().mean()))
    with atomic_path(path) as partial:
        torch.save(encoder.state_dict(), partial)
