"""What a way to execute slices of eight views is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

from wmh_runtime.precision import Precision
from wmh_runtime.text import count_noun
from wmh_runtime.types import Floats


class Opened(ABC):
    """A way that is ready to execute."""

    @property
    @abstractmethod
    def memory_mb(self) -> float | None:
        """What it took on a GPU at the most, so far, 10⁶ bytes; None on a processor."""

    @abstractmethod
    def predict(self, slices: Floats) -> Floats:
        """Return the probability of eight views, float32 [n, C, S, S] to [n, K, S, S]."""

    @abstractmethod
    def seconds(self, batch: Floats, count: int) -> list[float]:
        """Execute a batch again and again; return what each time took."""


class Way(ABC):
    """A way to execute a network.

    Args:
        name: for people.
        precision: to compute in.
        slices: at a time.
    """

    is_runtime = False  # but PyTorch
    compiles = False  # for a minute, when it executes first

    def __init__(self, name: str, precision: Precision, slices: int) -> None:
        self.name = name
        self.precision = precision
        self.slices = slices

    def __str__(self) -> str:
        return f"{self.name}, {self.precision}, {count_noun(self.slices, 'slice')} at a time"

    @abstractmethod
    def open(self) -> AbstractContextManager[Opened]:
        """Take what it needs on the device, for as long as the context lasts.

        Raises:
            WmhError: what it needs is not installed, or cannot be used here.
        """
