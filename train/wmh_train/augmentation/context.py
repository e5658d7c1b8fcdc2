"""Augmentation of the planes of a sample: order of neighbors, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wmh_runtime.preprocessing.channels import Present, presence_weights
from wmh_train.augmentation.random_generators import SampleGenerators
from wmh_train.recipe.recipe import AugmentationSettings


def transform_context(
    images: Tensor,
    context_slices: int,
    settings: AugmentationSettings,
    generators: SampleGenerators,
) -> Tensor:
    """Reverse the order of the neighbors in half of the samples; replace them in some.

    Args:
        images: float32 [N, C, S, S], with the neighbors of each slice beside it.
        context_slices: neighbors on each side; 0: the images stay as they are.
        settings: in which share the slice itself takes the place of its neighbors.
        generators: random generators of the batch.
    """
    is_reversed = generators.integers(2) == 1
    is_single = generators.uniform(0, 1) < settings.single_slice_share
    if context_slices == 0:
        return images
    group = 1 + 2 * context_slices
    order = torch.arange(group).repeat(len(images), 1)  # [N, 1 + 2k]
    order[torch.from_numpy(is_reversed)] = order[0].flip(0)
    order[torch.from_numpy(is_single)] = context_slices
    by_image = images.reshape(len(images), -1, group, *images.shape[2:])
    samples = torch.arange(len(images))[:, None]
    return by_image.transpose(1, 2)[samples, order].transpose(1, 2).flatten(1, 2)


def leave_out_channels(
    images: Tensor, context_slices: int, subsets: Sequence[Present], generators: SampleGenerators
) -> Tensor:
    """Set the channels to 0 that are not in a subset, drawn for each sample with equal chances.

    Args:
        images: float32 [N, C, S, S], with the neighbors of each slice beside it.
        context_slices: neighbors on each side.
        subsets: of the channels of an image.
        generators: random generators of the batch.
    """
    drawn = generators.integers(len(subsets))
    if len(subsets) == 1:
        return images
    weights = [presence_weights(subsets[index], context_slices) for index in drawn]
    return images * torch.from_numpy(np.stack(weights)).to(images)[..., None, None]
