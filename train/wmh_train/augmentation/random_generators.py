"""Random numbers of a batch, each sample's from a generator of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Draws:
    """Numbers that follow from (seed, epoch, sample) and the order in which they are asked for.

    So a sample looks the same in any batch, in any process and on any device. Who draws asks for
    the same numbers whatever the settings: what is switched off leaves the rest as it was.
    """

    def __init__(self, *, seed: int, epoch: int, samples: Sequence[int]) -> None:
        self._generators = [np.random.default_rng([seed, epoch, sample]) for sample in samples]

    def integers(self, end: int) -> NDArray[np.int_]:
        """Draw from 0 to `end` − 1, (N,)."""
        return np.array([generator.integers(end) for generator in self._generators])

    def uniform(self, lowest: float, highest: float, *shape: int) -> NDArray[np.float64]:
        """Draw from [lowest, highest), (N, *shape)."""
        return np.stack([each.uniform(lowest, highest, shape) for each in self._generators])

    def normal(self, *shape: int) -> Iterator[Tensor]:
        """Draw from the standard normal distribution, float32 (*shape) of one sample at a time."""
        for generator in self._generators:
            yield torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
