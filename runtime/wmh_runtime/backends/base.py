"""The interface of all backends: a fixed batch size, checked input and output, owned resources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np

from wmh_runtime.errors import BackendError
from wmh_runtime.precision import Precision
from wmh_runtime.types import Floats, NetworkShape

WaitForBatch = Callable[[], Floats]  # waits for a submitted batch, returns its probabilities


class Backend(ABC):
    """Executes a network on preprocessed slices.

    A backend is a context manager: it takes its device on entry and frees it on exit. It always
    executes batches of exactly `batch_size` slices. The last batch is padded with zeros. So the
    result for a slice does not depend on the number of slices.

    Args:
        shape: channels, outputs and slice size of the network.
        batch_size: slices per batch, at least 1.
    """

    name: str
    device: str
    precision: Precision
    emulated = False  # True: computes in a higher precision than `precision`
    max_in_flight = 2  # batches submitted at a time: one executes, the next one waits
    num_streams = 1  # batches executed at the same time

    def __init__(self, shape: NetworkShape, batch_size: int) -> None:
        if batch_size < 1:
            raise BackendError(f"a batch of {batch_size} slices is not possible", "Use 1 or more.")
        self.shape = shape
        self.batch_size = batch_size
        self._is_open = False

    def __enter__(self) -> Self:
        """Take the device and load the network."""
        self._open()
        self._is_open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Free the device."""
        self._is_open = False
        self._close()

    def predict(self, slices: Floats) -> Floats:
        """Return the probability of each output in each pixel.

        Args:
            slices: float32 [N, C, S, S], N of any size, 0 included.

        Returns:
            float32 [N, K, S, S], in [0, 1].

        Raises:
            BackendError: the backend is not open, the input has a wrong shape or dtype, the
                execution failed, or the output has a wrong shape or is not finite.
        """
        self._require_input(slices)
        probabilities = np.empty((len(slices), *self.shape.output_shape), np.float32)
        end = 0
        batches = (slices[i : i + self.batch_size] for i in range(0, len(slices), self.batch_size))
        for outputs in self.execute_all(list(batch) for batch in batches):
            start, end = end, end + len(outputs)
            probabilities[start:end] = outputs
        return probabilities

    def execute_all(self, batches: Iterable[Sequence[Floats]]) -> Iterator[Floats]:
        """Execute batches in order, with `max_in_flight` submitted; yield the probabilities."""
        in_flight: deque[WaitForBatch] = deque()
        for slices in batches:
            if len(in_flight) == self.max_in_flight:
                yield in_flight.popleft()()
            in_flight.append(self.submit(slices))
        for wait in in_flight:
            yield wait()

    def execute(self, slices: Sequence[Floats]) -> Floats:
        """Submit one batch, wait for it and return its probabilities."""
        return self.submit(slices)()

    def submit(self, slices: Sequence[Floats]) -> WaitForBatch:
        """Start to execute a batch.

        Submit at most `max_in_flight` batches before you wait for the first one, and wait for
        them in the order in which you submitted them.

        Args:
            slices: float32 [C, S, S] each, at least one and at most `batch_size`.

        Returns:
            A function that waits for the batch and returns float32 [number of slices, K, S, S],
            in [0, 1]. Call it once. It raises the same errors as `submit`.

        Raises:
            BackendError: see `predict`.
            DeviceLostError: the device failed, and all submitted batches with it.
        """
        batch = np.zeros((self.batch_size, *self.shape.input_shape), np.float32)
        for index, one in enumerate(slices):
            self._require_input(one[None])
            batch[index] = one
        wait = self._submit(batch)

        def wait_and_check() -> Floats:
            outputs = wait()
            self._check_outputs(outputs)
            return outputs[: len(slices)]

        return wait_and_check

    def _require_input(self, slices: Floats) -> None:
        if not self._is_open:
            raise BackendError("is not open", "Use it in a with statement.", about=self.name)
        if slices.dtype != np.float32 or slices.shape[1:] != self.shape.input_shape:
            expected = ", ".join(map(str, ("N", *self.shape.input_shape)))
            raise BackendError(
                f"input is {slices.dtype} {list(slices.shape)}, expected float32 [{expected}]",
                "Preprocess the slices as this bundle's manifest says.",
            )

    def _check_outputs(self, outputs: Floats) -> None:
        """Check shape and values. NaN would become an empty mask without any error."""
        expected = (self.batch_size, *self.shape.output_shape)
        if outputs.shape != expected:
            problem = f"returned an array of shape {list(outputs.shape)}, expected {list(expected)}"
            raise BackendError(problem, "The graph does not match its manifest.", about=self.name)
        if not np.isfinite(outputs).all():
            problem = "returned probabilities that are not finite"
            raise BackendError(problem, "Use another precision or backend.", about=self.name)

    @property
    def versions(self) -> dict[str, str]:
        """Name and version of each library that executes the network; empty by default."""
        return {}

    @property
    def description(self) -> str:
        """The libraries with their versions, and the device."""
        libraries = " ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{libraries or self.name} on {self.device}"

    @abstractmethod
    def _open(self) -> None:
        """Take the device and load the network."""

    @abstractmethod
    def _close(self) -> None:
        """Free what `_open` took."""

    @abstractmethod
    def _submit(self, batch: Floats) -> WaitForBatch:
        """Start to execute one full batch, [batch_size, C, S, S] to [batch_size, K, S, S]."""


class BlockingBackend(Backend):
    """A backend whose library call blocks until a batch is done. It uses `num_streams` threads."""

    def __enter__(self) -> Self:
        self.max_in_flight = self.num_streams + 1
        self._thread_pool = ThreadPoolExecutor(self.num_streams, self.name)
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread_pool.shutdown(cancel_futures=True)
        super().__exit__(kind, error, traceback)

    def _submit(self, batch: Floats) -> WaitForBatch:
        return self._thread_pool.submit(self._execute, batch).result

    @abstractmethod
    def _execute(self, batch: Floats) -> Floats:
        """Execute one full batch, [batch_size, C, S, S] to [batch_size, K, S, S].

        Up to `num_streams` threads call this at the same time.
        """
