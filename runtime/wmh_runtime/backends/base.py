"""What every backend has in common: one fixed batch shape, checked input, owned resources."""

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

Collect = Callable[[], Floats]  # waits for a batch and returns what it gave


class Backend(ABC):
    """Executes a network on prepared slices.

    A backend is a context manager: it touches its device on entry and frees it on exit. It always
    executes batches of exactly `batch_size` slices, the last one padded, so that the result for a
    slice does not depend on how many others there are.

    Args:
        shape: of the network.
        batch_size: slices executed at a time, at least 1.
    """

    name: str
    device: str
    precision: Precision
    emulated = False  # computes in wider arithmetic than the precision's own
    max_in_flight = 2  # batches at a time: one is executed, the next is ready
    num_streams = 1  # batches that are executed at the same time

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

    def predict(self, slices: Floats, on_executed: Callable[[float], None] | None = None) -> Floats:
        """Return the probability of each output in each pixel.

        Args:
            slices: float32 [N, C, S, S], N of any size, 0 included.
            on_executed: called after each batch with the share of slices executed, 0 to 1.

        Returns:
            float32 [N, K, S, S], in [0, 1].

        Raises:
            BackendError: the backend is not open, the input has another shape or type, the
                execution failed, or what it gave has another shape or is not finite.
        """
        self._require_input(slices)
        probabilities = np.empty((len(slices), *self.shape.slice_out), np.float32)
        end = 0
        batches = (slices[i : i + self.batch_size] for i in range(0, len(slices), self.batch_size))
        for given in self.execute_all(list(batch) for batch in batches):
            start, end = end, end + len(given)
            probabilities[start:end] = given
            if on_executed is not None:
                on_executed(end / len(slices))
        return probabilities

    def execute_all(self, batches: Iterable[Sequence[Floats]]) -> Iterator[Floats]:
        """Execute batches one behind the other, `max_in_flight` at a time; yield what each gave."""
        waiting: deque[Collect] = deque()
        for squares in batches:
            if len(waiting) == self.max_in_flight:
                yield waiting.popleft()()
            waiting.append(self.submit(squares))
        for collect in waiting:
            yield collect()

    def execute(self, squares: Sequence[Floats]) -> Floats:
        """Execute one batch: submit it and collect what it gave."""
        return self.submit(squares)()

    def submit(self, squares: Sequence[Floats]) -> Collect:
        """Begin to execute a batch.

        Args:
            squares: float32 [C, S, S] each, at least one and at most `batch_size`.

        Returns:
            What waits for it, to be called once, and returns float32 [number of squares, K, S, S],
            in [0, 1]. At most `max_in_flight` batches are submitted before the first is collected,
            and they are collected in their order. It raises what `submit` does.

        Raises:
            BackendError: as of `predict`.
            DeviceLostError: the device is gone, and with it all that is under way.
        """
        batch = np.zeros((self.batch_size, *self.shape.slice_in), np.float32)
        for place, square in enumerate(squares):
            self._require_input(square[None])
            batch[place] = square
        wait = self._submit(batch)

        def collect() -> Floats:
            given = wait()
            self._check_given(given)
            return given[: len(squares)]

        return collect

    def _require_input(self, slices: Floats) -> None:
        if not self._is_open:
            raise BackendError("is not open", "Use it in a with statement.", about=self.name)
        if slices.dtype != np.float32 or slices.shape[1:] != self.shape.slice_in:
            expected = ", ".join(map(str, ("N", *self.shape.slice_in)))
            raise BackendError(
                f"input is {slices.dtype} {list(slices.shape)}, expected float32 [{expected}]",
                "Prepare the slices with this bundle's preprocessing.",
            )

    def _check_given(self, given: Floats) -> None:
        """Refuse output that would become a mask of something else, or an empty one unnoticed."""
        expected = (self.batch_size, *self.shape.slice_out)
        if given.shape != expected:
            problem = f"gave an array of {list(given.shape)}, expected {list(expected)}"
            raise BackendError(problem, "The bundle does not fit its manifest.", about=self.name)
        if not np.isfinite(given).all():
            problem = "gave probabilities that are not finite"
            raise BackendError(problem, "Use another precision or backend.", about=self.name)

    @property
    def versions(self) -> dict[str, str]:
        """The libraries that execute, by name, with their versions; none by default."""
        return {}

    @property
    def description(self) -> str:
        """What executes, with versions, and where."""
        libraries = " ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{libraries or self.name} on {self.device}"

    @abstractmethod
    def _open(self) -> None:
        """Take the device and load the network."""

    @abstractmethod
    def _close(self) -> None:
        """Free what `_open` took."""

    @abstractmethod
    def _submit(self, batch: Floats) -> Collect:
        """Begin to execute one full batch, [batch_size, C, S, S] to [batch_size, K, S, S]."""


class BlockingBackend(Backend):
    """A backend whose library returns only when a batch is executed: `num_streams` threads wait."""

    def __enter__(self) -> Self:
        self.max_in_flight = self.num_streams + 1
        self._workers = ThreadPoolExecutor(self.num_streams, self.name)
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._workers.shutdown(cancel_futures=True)
        super().__exit__(kind, error, traceback)

    def _submit(self, batch: Floats) -> Collect:
        return self._workers.submit(self._execute, batch).result

    @abstractmethod
    def _execute(self, batch: Floats) -> Floats:
        """Execute one full batch, [batch_size, C, S, S] to [batch_size, K, S, S].

        Called by `num_streams` threads at a time.
        """
