"""What a GPU must do for a network to be executed on it, whatever library drives it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from wmh_runtime.errors import BackendError
from wmh_runtime.types import Floats


@dataclass(frozen=True)
class Gpu:
    """A GPU, as its driver describes it."""

    name: str
    target: str  # its compute capability, such as sm89


class Event(ABC):
    """A point in what was enqueued."""

    @abstractmethod
    def record(self) -> None:
        """Set it after all that is enqueued so far."""

    @abstractmethod
    def wait(self) -> None:
        """Wait until the device has come to it.

        Raises:
            DeviceLostError: what was enqueued failed.
        """

    @abstractmethod
    def seconds_since(self, earlier: Event) -> float:
        """Return the time between two timed events, both waited for."""


class Device(ABC):
    """One GPU with one stream: what is enqueued is done in that order, later.

    What it gives out lives until it is closed. A device that failed stays so: nothing but a new
    process brings it back.

    Args:
        number: of the GPU, as the driver counts, from 0.

    Raises:
        BackendError: the library is not installed, or there is no such GPU.
    """

    stream: int  # its handle

    def __init__(self, number: int) -> None:
        self.gpu = self.gpu_by_index(number)

    @classmethod
    def gpu_by_index(cls, number: int) -> Gpu:
        """Return what the driver says of one GPU.

        Raises:
            BackendError: there is no such GPU.
        """
        gpus = cls.gpus()
        if number < len(gpus):
            return gpus[number]
        there = ", ".join(f"{i} ({gpu.name})" for i, gpu in enumerate(gpus))
        problem = f"there is no GPU {number}"
        raise BackendError(problem, f"Choose from: {there}.", about="--device")

    @classmethod
    @abstractmethod
    def gpus(cls) -> list[Gpu]:
        """Ask the driver which GPUs there are, at least one.

        Raises:
            BackendError: the library is not installed, or there is no GPU or no driver.
        """

    @abstractmethod
    def current(self) -> AbstractContextManager[None]:
        """Make it the device of the calling thread, which all that follows asks for."""

    @abstractmethod
    def pinned(self, shape: tuple[int, ...]) -> Floats:
        """Take host memory that the device reads and writes directly: float32, zeros.

        Raises:
            BackendError: there is not enough.
        """

    @abstractmethod
    def memory(self, size_bytes: int) -> int:
        """Take device memory; return its address.

        Raises:
            BackendError: there is not enough.
        """

    @abstractmethod
    def enqueue_copy_in(self, to: int, source: Floats) -> None:
        """Enqueue a copy of pinned memory to the device."""

    @abstractmethod
    def enqueue_copy_out(self, to: Floats, source: int) -> None:
        """Enqueue a copy from the device to pinned memory."""

    @abstractmethod
    def free_bytes(self) -> int:
        """Return how much of the device's memory nobody has taken."""

    @abstractmethod
    def event(self, *, timed: bool = False) -> Event:
        """Make an event.

        Args:
            timed: it notes when the device came to it, which costs a little.
        """

    def replayable(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """Return what enqueues the same again, as cheaply as the library can.

        Args:
            enqueue: enqueues a fixed sequence on fixed addresses; it is called at least once.
        """
        return enqueue

    @abstractmethod
    def close(self) -> None:
        """Give back all that was taken, once what is enqueued is done."""
