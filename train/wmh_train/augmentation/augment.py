"""Random changes of training slices, a whole batch at a time: first where, then how bright.

MONAI has a transform for each of these changes, for one slice at a time. Measured slice by slice
against whole batches, all of them were slower, and each is a few lines of PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from wmh_train.augmentation.draws import Draws
from wmh_train.augmentation.geometry import move
from wmh_train.augmentation.intensity import change_intensity
from wmh_train.recipe.recipe import AugmentationSettings


def augment(
    images: Tensor,
    targets: Tensor,
    settings: AugmentationSettings,
    *,
    seed: int,
    epoch: int,
    samples: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Augment a batch, on the device it is on.

    Args:
        images: float32 [N, C, S, S], z-scored, 0 outside the head.
        targets: float32 or uint8 [N, K, S, S]: 0 background, 1 lesion, 2 ignored.
        settings: how much is changed.
        seed: of the training.
        epoch: number of the epoch.
        samples: N numbers, each slice's place in the data set.

    Returns:
        New images and targets of the same shapes and dtypes, moved alike; intensities are changed
        inside the head only, and outside it they are 0.
    """
    draws = Draws(seed=seed, epoch=epoch, samples=samples)
    images, targets = move(images, targets, settings, draws)
    return change_intensity(images, settings, draws), targets
