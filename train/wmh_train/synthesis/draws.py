"""Random draws of a synthetic head. The same seed gives the same head."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


class Draws:
    """Draws numbers and fields from one seed."""

    def __init__(self, *seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def chance(self, share: float) -> bool:
        """Return True with a probability."""
        return bool(self.rng.uniform() < share)

    def uniform(self, interval: tuple[float, float]) -> float:
        """Draw evenly."""
        return float(self.rng.uniform(*interval))

    def log_uniform(self, interval: tuple[float, float]) -> float:
        """Draw evenly in log scale; both limits are above 0."""
        low, high = interval
        return math.exp(self.rng.uniform(math.log(low), math.log(high)))

    def normal(self, *shape: int) -> Tensor:
        """Draw independent normal values, float32."""
        return torch.from_numpy(self.rng.standard_normal(shape, np.float32))
