"""Sampling of the training slices of an epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import RecipeError


def draw_epoch(
    with_lesion: NDArray[np.bool_], empty_slices: float, *, seed: int, epoch: int
) -> NDArray[np.int_]:
    """Draw the slices of an epoch in random order: all with a lesion and some without.

    Each epoch draws the same number of slices without a lesion, but different ones.

    Args:
        with_lesion: (n,), True for slices with a lesion.
        empty_slices: share of the slices without a lesion to draw, in [0, 1].
        seed: seed of the training.
        epoch: index of the epoch, from 0.

    Returns:
        Indices of slices, each at most once.

    Raises:
        RecipeError: no slice is drawn.
    """
    generator = np.random.default_rng([seed, epoch])
    empty = generator.permutation(np.flatnonzero(~with_lesion))
    drawn = empty[: round(empty_slices * len(empty))]
    order = generator.permutation(np.concatenate([np.flatnonzero(with_lesion), drawn]))
    if not len(order):
        raise RecipeError(
            f"no slice to train on: none of {len(with_lesion)} slices contains a lesion",
            "Check the reference masks, or increase data.empty_slices.",
        )
    return order
