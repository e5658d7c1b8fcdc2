"""Random augmentation of a batch of training slices: geometry, intensity, neighbors, channels.

MONAI has a transform for each of these changes, but for one slice at a time. All of them were
slower than the batched code here, which has a few lines of PyTorch per change.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from wmh_runtime.preprocessing.channels import Present
from wmh_train.augmentation.context import leave_out_channels, transform_context
from wmh_train.augmentation.geometry import transform_geometry
from wmh_train.augmentation.intensity import transform_intensity
from wmh_train.augmentation.random_generators import SampleGenerators
from wmh_train.recipe.recipe import AugmentationSettings


def augment(
    images: Tensor,
    targets: Tensor,
    settings: AugmentationSettings,
    *,
    context_slices: int = 0,
    channel_subsets: Sequence[Present] = ((True,),),
    seed: int,
    epoch: int,
    draws: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Augment a batch on its device.

    Args:
        images: float32 [N, C, S, S], normalized, 0 outside the head.
        targets: [N, K, S, S]: uint8 labels, or float32 probabilities; see `transform_geometry`.
        settings: which changes, and how large.
        context_slices: neighbors on each side of a slice, which are channels too.
        channel_subsets: which channels of an image may be there together.
        seed: seed of the training.
        epoch: index of the epoch.
        draws: N numbers of the slices within the epoch: one that is drawn twice changes twice.

    Returns:
        New images and targets of the same shapes and dtypes, with the same geometric change.
        Intensities change only inside the head and are 0 outside.
    """
    generators = SampleGenerators(seed=seed, epoch=epoch, draws=draws)
    images, targets = transform_geometry(images, targets, settings, generators)
    images = transform_intensity(images, context_slices, settings, generators)
    images = transform_context(images, context_slices, settings, generators)
    return leave_out_channels(images, context_slices, channel_subsets, generators), targets
