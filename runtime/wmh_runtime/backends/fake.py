"""A backend without a network, for tests and for benchmarks of everything around the network."""

from __future__ import annotations

import numpy as np

from wmh_runtime.backends.base import BlockingBackend
from wmh_runtime.precision import Precision
from wmh_runtime.types import Floats, NetworkShape


class FakeBackend(BlockingBackend):
    """Returns the logistic function of the first channel, for each output.

    It keeps the contract of a real backend. Its results are easy to check: input 0 gives 0.5,
    1 gives 0.731, −1 gives 0.269.
    """

    name = "fake"
    device = "none"
    precision: Precision = "fp32"

    def __init__(self, shape: NetworkShape, batch_size: int = 1) -> None:
        super().__init__(shape, batch_size)
        self.batches_executed = 0

    def _open(self) -> None:
        """Do nothing: there is no device."""

    def _close(self) -> None:
        """Do nothing: there is no device."""

    def _execute(self, batch: Floats) -> Floats:
        self.batches_executed += 1
        probability = 1 / (1 + np.exp(-batch[:, :1]))
        return np.repeat(probability, self.shape.outputs, axis=1)
