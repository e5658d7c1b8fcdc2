"""Random numbers for a batch, with one random generator per slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class SampleGenerators:
    """One random generator per slice, seeded with (seed, epoch, its number within the epoch).

    So a slice is augmented the same way in any batch, process and device. Callers must always
    draw the same numbers, also for changes that are switched off. Then a setting does not affect
    the random numbers of the others.
    """

    def __init__(self, *, seed: int, epoch: int, draws: Sequence[int]) -> None:
        self._generators = [np.random.default_rng([seed, epoch, draw]) for draw in draws]

    def integers(self, end: int) -> NDArray[np.int_]:
        """Draw integers from 0 to `end` − 1, (N,)."""
        return np.array([generator.integers(end) for generator in self._generators])

    def uniform(self, lowest: float, highest: float, *shape: int) -> NDArray[np.float64]:
        """Draw uniform numbers from [lowest, highest), (N, *shape)."""
        return np.stack(
            [generator.uniform(lowest, highest, shape) for generator in self._generators]
        )

    def normal(self, *shape: int) -> Iterator[Tensor]:
        """Draw standard normal numbers; yield float32 (*shape) for one slice after another."""
        for generator in self._generators:
            yield torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
