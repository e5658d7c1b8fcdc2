"""Time the copies and the computation of each batch on a GPU with events of the GPU.

A backend copies a batch to the GPU, computes, and copies the result back. Four events on the
stream of the GPU, before and after each copy, therefore separate three durations. The backend
itself is not changed: `timed_driver` adds the events to the copies of its driver.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from wmh_runtime.backends.gpu.device import Device, Event
from wmh_runtime.types import Floats

_EnqueueCopy = Callable[[], None]
_EVENTS_PER_BATCH = 4  # start and end of both copies


@dataclass(frozen=True)
class BatchSeconds:
    """Durations of one batch."""

    to_device_s: float
    compute_s: float
    from_device_s: float
    enqueue_s: float  # of the host, to enqueue the computation


@dataclass
class _Batch:
    device: Device
    events: list[Event] = field(default_factory=list)
    copy_in_enqueued_s: float = 0.0  # of the host's clock
    computation_enqueued_s: float = 0.0  # of the host's clock


class GpuTimer:
    """Records the events of batches while `recording` is active."""

    def __init__(self) -> None:
        self._batches: list[_Batch] = []
        self._is_recording = False

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Forget all earlier batches, and record batches within the block."""
        self._batches = []
        self._is_recording = True
        try:
            yield
        finally:
            self._is_recording = False

    def copy_in(self, device: Device, enqueue_copy: _EnqueueCopy) -> None:
        """Enqueue the copy of a batch to the GPU between two events."""
        if not self._is_recording:
            enqueue_copy()
            return
        self._batches.append(_Batch(device))
        self._enqueue_between_events(enqueue_copy)
        self._batches[-1].copy_in_enqueued_s = time.perf_counter()

    def copy_out(self, enqueue_copy: _EnqueueCopy) -> None:
        """Enqueue the copy of the result to the host between two events."""
        if not (self._is_recording and self._batches):
            enqueue_copy()
            return
        self._batches[-1].computation_enqueued_s = time.perf_counter()
        self._enqueue_between_events(enqueue_copy)

    def batch_seconds(self) -> list[BatchSeconds]:
        """Wait for all complete batches and return their durations, in order."""
        durations = []
        for batch in self._batches:
            if len(batch.events) != _EVENTS_PER_BATCH:
                continue
            with batch.device.activate():
                in_start, in_end, out_start, out_end = batch.events
                out_end.wait()
                durations.append(
                    BatchSeconds(
                        to_device_s=in_end.seconds_since(in_start),
                        compute_s=out_start.seconds_since(in_end),
                        from_device_s=out_end.seconds_since(out_start),
                        enqueue_s=batch.computation_enqueued_s - batch.copy_in_enqueued_s,
                    )
                )
        return durations

    def _enqueue_between_events(self, enqueue_copy: _EnqueueCopy) -> None:
        batch = self._batches[-1]
        start, end = (batch.device.create_event(timed=True) for _ in range(2))
        start.record()
        enqueue_copy()
        end.record()
        batch.events += [start, end]


def timed_driver(driver: type[Device], timer: GpuTimer) -> type[Device]:
    """Return a subclass of a driver whose copies are recorded by the timer."""

    class TimedDriver(driver):  # type: ignore[misc, valid-type]
        def enqueue_copy_to_device(self, to: int, source: Floats) -> None:
            timer.copy_in(self, lambda: super(TimedDriver, self).enqueue_copy_to_device(to, source))

        def enqueue_copy_to_host(self, to: Floats, source: int) -> None:
            timer.copy_out(lambda: super(TimedDriver, self).enqueue_copy_to_host(to, source))

    return TimedDriver
