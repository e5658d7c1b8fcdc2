"""Sampling of the training slices of an epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import RecipeError
from wmh_train.recipe.recipe import DataSettings


def draw_epoch(
    with_target: NDArray[np.bool_],
    sites: NDArray[np.str_],
    settings: DataSettings,
    *,
    seed: int,
    epoch: int,
) -> NDArray[np.int_]:
    """Draw the slices of an epoch in random order.

    By default, these are all slices with a target, each once, and a share of the others: the same
    number in each epoch, but different ones. With `epoch_slices`, that many are drawn with
    replacement; a slice without a target is drawn less often than one with a target by that share.

    Args:
        with_target: (n,), True for slices with a lesion, or region if no lesions are trained.
        sites: (n,), of each slice.
        settings: shares.
        seed: seed of the training.
        epoch: index of the epoch, from 0.

    Returns:
        Indices of slices.

    Raises:
        RecipeError: no slice is drawn, or a site of `site_shares` has no slice.
    """
    generator = np.random.default_rng([seed, epoch])
    if settings.epoch_slices is not None:
        weights = np.where(with_target, 1.0, settings.empty_slices)
        probabilities = _balance_sites(weights, sites, settings.site_shares)
        return generator.choice(len(weights), settings.epoch_slices, p=probabilities)
    return _draw_each_once(with_target, settings.empty_slices, generator)


def _balance_sites(
    weights: NDArray[np.float64], sites: NDArray[np.str_], shares: dict[str, float]
) -> NDArray[np.float64]:
    """Scale the weights of slices so that each site has its share, and their sum is 1."""
    balanced = np.zeros_like(weights)
    others = ~np.isin(sites, list(shares))
    parts = [(sites == site, share) for site, share in shares.items()]
    if others.any():
        parts.append((others, 1 - sum(shares.values())))
    for slices, share in parts:
        total = weights[slices].sum()
        if total == 0 and not slices.any():
            raise RecipeError(
                f"data.site_shares names a site without scans: {', '.join(shares)}",
                f"The sites of the scans are: {', '.join(sorted({*sites.tolist()}))}.",
            )
        if total == 0:
            raise _no_target(int(np.count_nonzero(slices)))
        balanced[slices] = share * weights[slices] / total
    return balanced / balanced.sum()


def _draw_each_once(
    with_target: NDArray[np.bool_], empty_slices: float, generator: np.random.Generator
) -> NDArray[np.int_]:
    empty = generator.permutation(np.flatnonzero(~with_target))
    drawn = empty[: round(empty_slices * len(empty))]
    order = generator.permutation(np.concatenate([np.flatnonzero(with_target), drawn]))
    if not len(order):
        raise _no_target(len(with_target))
    return order


def _no_target(slices: int) -> RecipeError:
    return RecipeError(
        f"no slice to train on: none of {slices} slices contains a target",
        "Check the reference masks, or increase data.empty_slices.",
    )
