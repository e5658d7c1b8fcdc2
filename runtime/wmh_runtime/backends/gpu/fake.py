"""A GPU of host memory, for tests: it does what was enqueued as late as it may.

So whoever reads a result before waiting for it, or overwrites an input that was not read yet, gets
it wrong here every time, and not once a month on a real one.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from wmh_runtime.backends.gpu.device import Device, Event, Gpu
from wmh_runtime.errors import BackendError, DeviceLostError
from wmh_runtime.types import Floats

Step = Callable[[], None]
STEP_S = 1e-3  # of its clock, that each step takes


class FakeStream:
    """What was enqueued and is not done yet."""

    by_handle: dict[int, FakeStream] = {}  # noqa: RUF012 - one machine has one set of streams
    _handles = itertools.count(1)

    def __init__(self, is_current: Callable[[], bool]) -> None:
        self.handle = next(self._handles)
        self.by_handle[self.handle] = self
        self._is_current = is_current  # whether its device is that of the calling thread
        self.captured: list[Step] | None = None  # instead of enqueueing
        self._steps: deque[Step] = deque()
        self._enqueued = self._done = 0

    def enqueue(self, step: Step) -> int:
        """Take a step in; return how many there were, with this one."""
        assert self._is_current(), "its device is not the current one of this thread"
        if self.captured is not None:
            self.captured.append(step)
            return self._enqueued
        self._steps.append(step)
        self._enqueued += 1
        return self._enqueued

    def do(self, until: int | None = None) -> None:
        """Do the steps up to a number of them, or all."""
        assert self.captured is None, "a stream that captures cannot be waited for"
        while self._steps and (until is None or self._done < until):
            self._steps.popleft()()
            self._done += 1

    @property
    def end(self) -> int:
        """How many steps there were so far."""
        return self._enqueued


class FakeDevice(Device):
    """A GPU without one.

    Args:
        number: 0 or 1.
        memory_bytes: that it has.
    """

    is_lost = False  # set it, and nothing works any more

    def __init__(self, number: int = 0, memory_bytes: int = 2**30) -> None:
        super().__init__(number)
        self._here = threading.local()
        self._queue = FakeStream(lambda: self._is_current)
        self.stream = self._queue.handle
        self._free_bytes = memory_bytes
        self._memory: dict[int, Floats] = {}
        self.is_closed = False

    @classmethod
    def gpus(cls) -> list[Gpu]:
        """Say that there are two of one model."""
        return [Gpu("Fake", "sm89")] * 2

    @contextmanager
    def current(self) -> Iterator[None]:
        """Mark it as the device in use."""
        self._require_life()
        self._here.depth = getattr(self._here, "depth", 0) + 1
        try:
            yield
        finally:
            self._here.depth -= 1

    def pinned(self, shape: tuple[int, ...]) -> Floats:
        """Take memory."""
        self._require_life()
        return np.zeros(shape, np.float32)

    def memory(self, size_bytes: int) -> int:
        """Take memory, filled with what is no number: nothing was written there yet."""
        self._require_life()
        if size_bytes > self._free_bytes:
            problem = "too little free memory"
            raise BackendError(
                problem, "Use a smaller --batch, or close other programs.", about=self.gpu.name
            )
        self._free_bytes -= size_bytes
        taken = np.full(math.ceil(size_bytes / 4), np.nan, np.float32)
        self._memory[taken.ctypes.data] = taken
        return taken.ctypes.data

    def at(self, address: int) -> Floats:
        """Return the memory at an address, for what computes there."""
        return self._memory[address]

    def enqueue_copy_in(self, to: int, source: Floats) -> None:
        """Enqueue a copy."""
        self._enqueue(lambda: np.copyto(self.at(to)[: source.size], source.ravel()))

    def enqueue_copy_out(self, to: Floats, source: int) -> None:
        """Enqueue a copy."""
        self._enqueue(lambda: np.copyto(to, self.at(source)[: to.size].reshape(to.shape)))

    def free_bytes(self) -> int:
        """Return what is left."""
        return self._free_bytes

    def event(self, *, timed: bool = False) -> Event:
        """Make an event."""
        return _FakeEvent(self, self._queue, timed=timed)

    def replayable(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """Capture what is enqueued, as CUDA graphs are: once for real, once to capture."""
        enqueue()
        self._queue.do()
        steps: list[Step] = []
        self._queue.captured = steps
        try:
            enqueue()
        finally:
            self._queue.captured = None

        def replay() -> None:
            for step in steps:
                self._enqueue(step)

        return replay

    def close(self) -> None:
        """Forget everything."""
        self._memory.clear()
        self.is_closed = True

    @property
    def _is_current(self) -> bool:
        return getattr(self._here, "depth", 0) > 0

    def _enqueue(self, step: Step) -> None:
        self._require_life()
        self._queue.enqueue(step)

    def _require_life(self) -> None:
        if self.is_lost:
            raise DeviceLostError("is lost", about=self.gpu.name)


class _FakeEvent(Event):
    def __init__(self, device: FakeDevice, stream: FakeStream, *, timed: bool) -> None:
        self._device, self._stream, self._at = device, stream, 0
        self._timed = timed

    def record(self) -> None:
        self._device._require_life()
        self._at = self._stream.end

    def wait(self) -> None:
        self._device._require_life()
        self._stream.do(self._at)

    def seconds_since(self, earlier: Event) -> float:
        assert isinstance(earlier, _FakeEvent)
        assert self._timed, "only timed events know when they were"
        assert earlier._timed, "only timed events know when they were"
        return STEP_S * (self._at - earlier._at)
