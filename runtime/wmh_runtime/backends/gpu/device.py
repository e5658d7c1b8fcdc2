"""The interface of a GPU, for every library that drives GPUs."""

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
    target: str  # compute capability, such as sm89


class Event(ABC):
    """A CUDA event: a marker in the stream of a device."""

    @abstractmethod
    def record(self) -> None:
        """Put the event at the end of the stream, after all work that is enqueued so far."""

    @abstractmethod
    def wait(self) -> None:
        """Wait until the device has reached the event.

        Raises:
            DeviceLostError: the enqueued work failed.
        """

    @abstractmethod
    def seconds_since(self, earlier: Event) -> float:
        """Return the time between two timed events. Wait for both events first."""


class Device(ABC):
    """One GPU with one stream. The GPU executes the enqueued work in order, later.

    All memory stays valid until the device is closed. A device that failed cannot be used again
    in the same process.

    Args:
        index: GPU index, as the driver counts, from 0.

    Raises:
        BackendError: the library is not installed, or there is no GPU with this index.
    """

    stream: int  # handle of the CUDA stream

    def __init__(self, index: int) -> None:
        self.gpu = self.gpu_by_index(index)

    @classmethod
    def gpu_by_index(cls, index: int) -> Gpu:
        """Return name and compute capability of one GPU.

        Raises:
            BackendError: there is no GPU with this index.
        """
        gpus = cls.list_gpus()
        if index < len(gpus):
            return gpus[index]
        available = ", ".join(f"{i} ({gpu.name})" for i, gpu in enumerate(gpus))
        problem = f"there is no GPU {index}"
        raise BackendError(problem, f"Choose from: {available}.", about="gpus")

    @classmethod
    @abstractmethod
    def list_gpus(cls) -> list[Gpu]:
        """Return all GPUs that the driver reports, at least one.

        Raises:
            BackendError: the library is not installed, or there is no GPU or no driver.
        """

    @abstractmethod
    def activate(self) -> AbstractContextManager[None]:
        """Make this the current GPU of the calling thread. All methods below need it."""

    @abstractmethod
    def allocate_pinned(self, shape: tuple[int, ...]) -> Floats:
        """Allocate pinned (page-locked) host memory, float32, filled with zeros.

        Raises:
            BackendError: there is too little memory.
        """

    @abstractmethod
    def allocate(self, size_bytes: int) -> int:
        """Allocate GPU memory and return its address.

        Raises:
            BackendError: there is too little memory.
        """

    @abstractmethod
    def enqueue_copy_to_device(self, address: int, source: Floats) -> None:
        """Enqueue a copy from pinned memory to GPU memory."""

    @abstractmethod
    def enqueue_copy_to_host(self, target: Floats, address: int) -> None:
        """Enqueue a copy from GPU memory to pinned memory."""

    @abstractmethod
    def free_bytes(self) -> int:
        """Return the free GPU memory in bytes."""

    @abstractmethod
    def create_event(self, *, timed: bool = False) -> Event:
        """Create an event.

        Args:
            timed: whether the event records its time, which costs a little.
        """

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """Return a function that enqueues the same work again, at the lowest cost.

        Libraries with CUDA graphs return the launch of a graph. Others return `enqueue` itself.

        Args:
            enqueue: enqueues a fixed sequence of work on fixed addresses. It may be called here.
        """
        return enqueue

    @abstractmethod
    def close(self) -> None:
        """Wait for the enqueued work, then free everything that was allocated."""
