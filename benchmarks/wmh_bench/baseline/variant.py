"""The interface of everything that `wmh-bench baseline` compares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

from wmh_runtime.precision import Precision
from wmh_runtime.text import count_noun
from wmh_runtime.types import Floats


class OpenVariant(ABC):
    """A variant that is ready to execute."""

    @property
    @abstractmethod
    def memory_mb(self) -> float | None:
        """Peak GPU memory so far, 10⁶ bytes. None on a CPU."""

    @abstractmethod
    def predict(self, slices: Floats) -> Floats:
        """Return the probability over eight views, float32 [N, C, S, S] to [N, K, S, S]."""

    @abstractmethod
    def time_batches(self, batch: Floats, count: int) -> list[float]:
        """Execute a batch several times and return the seconds of each time."""


class Variant(ABC):
    """One way to execute slices in eight views: a PyTorch variant, or a backend of the runtime.

    Args:
        name: for the result.
        precision: of the computation.
        batch_size: slices per batch.
    """

    is_runtime = False  # whether it is a backend of the runtime
    is_compiled = False  # whether the first batch takes a minute, because it is compiled

    def __init__(self, name: str, precision: Precision, batch_size: int) -> None:
        self.name = name
        self.precision = precision
        self.batch_size = batch_size

    def __str__(self) -> str:
        slices = count_noun(self.batch_size, "slice")
        return f"{self.name}, {self.precision}, {slices} per batch"

    @abstractmethod
    def open(self) -> AbstractContextManager[OpenVariant]:
        """Take the device for the duration of the block.

        Raises:
            WmhError: a library is missing, or the device cannot be used.
        """
