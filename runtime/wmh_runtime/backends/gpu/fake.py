"""A fake GPU in host memory, for tests. It runs the enqueued work as late as possible.

So code that reads a result before it waits, or overwrites an input too early, fails here every
time. On a real GPU it would fail rarely.
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
STEP_S = 1e-3  # simulated time of each step, in seconds


class FakeStream:
    """A stream: steps that are enqueued and not done yet."""

    by_handle: dict[int, FakeStream] = {}  # noqa: RUF012 - all streams of the process
    _handles = itertools.count(1)

    def __init__(self, is_current: Callable[[], bool]) -> None:
        self.handle = next(self._handles)
        self.by_handle[self.handle] = self
        self._is_current = is_current  # whether its device is current in the calling thread
        self.captured: list[Step] | None = None  # while capturing: the steps so far
        self.enqueued_count = 0
        self._steps: deque[Step] = deque()
        self._done_count = 0

    def enqueue(self, step: Step) -> None:
        """Add a step, or capture it."""
        assert self._is_current(), "the device is not current in this thread"
        if self.captured is not None:
            self.captured.append(step)
            return
        self._steps.append(step)
        self.enqueued_count += 1

    def run(self, until: int | None = None) -> None:
        """Run the first `until` steps that were ever enqueued. None: all steps."""
        assert self.captured is None, "cannot wait for a stream that captures"
        while self._steps and (until is None or self._done_count < until):
            self._steps.popleft()()
            self._done_count += 1


class FakeDevice(Device):
    """A fake GPU.

    Args:
        index: GPU index, 0 or 1.
        memory_bytes: total GPU memory.
    """

    is_lost = False  # a test sets True to make the GPU fail

    def __init__(self, index: int = 0, memory_bytes: int = 2**30) -> None:
        super().__init__(index)
        self._thread_state = threading.local()
        self._fake_stream = FakeStream(lambda: self._is_current)
        self.stream = self._fake_stream.handle
        self._free_bytes = memory_bytes
        self._memory: dict[int, Floats] = {}  # by address
        self.is_closed = False

    @classmethod
    def list_gpus(cls) -> list[Gpu]:
        """Return two GPUs of the same model."""
        return [Gpu("Fake", "sm89")] * 2

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Make this the current GPU of the calling thread."""
        self._require_not_lost()
        self._thread_state.depth = getattr(self._thread_state, "depth", 0) + 1
        try:
            yield
        finally:
            self._thread_state.depth -= 1

    def allocate_pinned(self, shape: tuple[int, ...]) -> Floats:
        """Allocate an ordinary array."""
        self._require_not_lost()
        return np.zeros(shape, np.float32)

    def allocate(self, size_bytes: int) -> int:
        """Allocate an array of NaN, so that reading it before writing shows up."""
        self._require_not_lost()
        if size_bytes > self._free_bytes:
            remedy = "Use a smaller batch, or close other programs."
            raise BackendError("too little free memory", remedy, about=self.gpu.name)
        self._free_bytes -= size_bytes
        array = np.full(math.ceil(size_bytes / 4), np.nan, np.float32)
        self._memory[array.ctypes.data] = array
        return array.ctypes.data

    def enqueue_copy_to_device(self, address: int, source: Floats) -> None:
        """Enqueue a copy to the device."""
        memory = self._memory[address]
        self._enqueue(lambda: np.copyto(memory[: source.size], source.ravel()))

    def enqueue_copy_to_host(self, target: Floats, address: int) -> None:
        """Enqueue a copy from the device."""
        memory = self._memory[address]
        self._enqueue(lambda: np.copyto(target, memory[: target.size].reshape(target.shape)))

    def free_bytes(self) -> int:
        """Return the free GPU memory in bytes."""
        return self._free_bytes

    def create_event(self, *, timed: bool = False) -> Event:
        """Create an event."""
        return _FakeEvent(self, self._fake_stream, timed=timed)

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """Capture the steps, as CUDA graphs do: run them once, then capture them."""
        enqueue()
        self._fake_stream.run()
        steps: list[Step] = []
        self._fake_stream.captured = steps
        try:
            enqueue()
        finally:
            self._fake_stream.captured = None

        def replay() -> None:
            for step in steps:
                self._enqueue(step)

        return replay

    def close(self) -> None:
        """Free the memory."""
        self._memory.clear()
        self.is_closed = True

    @property
    def _is_current(self) -> bool:
        return getattr(self._thread_state, "depth", 0) > 0

    def _enqueue(self, step: Step) -> None:
        self._require_not_lost()
        self._fake_stream.enqueue(step)

    def _require_not_lost(self) -> None:
        if self.is_lost:
            raise DeviceLostError("is lost", about=self.gpu.name)


class _FakeEvent(Event):
    def __init__(self, device: FakeDevice, stream: FakeStream, *, timed: bool) -> None:
        self._device = device
        self._stream = stream
        self._timed = timed
        self._position = 0  # number of steps before the event

    def record(self) -> None:
        self._device._require_not_lost()
        self._position = self._stream.enqueued_count

    def wait(self) -> None:
        self._device._require_not_lost()
        self._stream.run(self._position)

    def seconds_since(self, earlier: Event) -> float:
        assert isinstance(earlier, _FakeEvent)
        assert self._timed, "only timed events have a time"
        assert earlier._timed, "only timed events have a time"
        return STEP_S * (self._position - earlier._position)
