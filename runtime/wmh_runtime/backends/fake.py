"""A backend without a network, for tests and for measuring everything around the network."""

from __future__ import annotations

import numpy as np

from wmh_runtime.backends.base import BlockingBackend
from wmh_runtime.precision import Precision
from wmh_runtime.types import Floats, NetworkShape


class FakeBackend(BlockingBackend):
    """Calls bright what is bright: the logistic function of the first channel, for each output.

    It keeps the contract of a real backend, so what passes with it passes with any of them, and
    its results are known by hand: 0 → 0.5, 1 → 0.731, −1 → 0.269.
    """

    name = "fake"
    device = "none"
    precision: Precision = "fp32"

    def __init__(self, shape: NetworkShape, batch_size: int = 1) -> None:
        super().__init__(shape, batch_size)
        self.batches_executed = 0

    def _open(self) -> None:
        """There is nothing to take."""

    def _close(self) -> None:
        """There is nothing to free."""

    def _execute(self, batch: Floats) -> Floats:
        self.batches_executed += 1
        bright = 1 / (1 + np.exp(-batch[:, :1]))
        return np.repeat(bright, self.shape.outputs, axis=1)
