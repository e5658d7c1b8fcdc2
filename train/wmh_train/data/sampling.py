"""Which slices an epoch learns from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import RecipeError


def draw_epoch(
    with_lesion: NDArray[np.bool_], empty_slices: float, *, seed: int, epoch: int
) -> NDArray[np.int_]:
    """Draw which slices an epoch learns from, in which order: all with lesion, some without.

    Every epoch draws those without anew, and as many.

    Args:
        with_lesion: (n,).
        empty_slices: share of the slices without lesion, in [0, 1].
        seed: of the training.
        epoch: counted from 0.

    Returns:
        Places of slices, each at most once.

    Raises:
        RecipeError: there is none to learn from.
    """
    draws = np.random.default_rng([seed, epoch])
    empty = draws.permutation(np.flatnonzero(~with_lesion))
    drawn = empty[: round(empty_slices * len(empty))]
    order = draws.permutation(np.concatenate([np.flatnonzero(with_lesion), drawn]))
    if not len(order):
        raise RecipeError(
            f"none of {len(with_lesion)} slices is learned from, since none shows a lesion",
            "Check the reference masks, or raise data.empty_slices.",
        )
    return order
