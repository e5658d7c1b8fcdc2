"""A GPU that notes when copies begin and end: how long is copied, and how long computed between.

Backends copy a batch in, compute and copy out, all enqueued on one stream; so four events a batch
tell the three parts, whatever the backend does between. Nothing else of the runtime is changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from wmh_runtime.devices.base import Device, Event
from wmh_runtime.types import Floats

Copy = Callable[[], None]


@dataclass(frozen=True)
class Parts:
    """Seconds of one batch."""

    to_device_s: float
    compute_s: float
    from_device_s: float
    enqueue_s: float  # of the host, for what computes


@dataclass
class _Batch:
    events: list[Event] = field(default_factory=list)  # begin and end of copy in, of copy out
    copied_in_at: float = 0.0  # of the host's clock: all of it is enqueued
    computing_at: float = 0.0  # likewise of what computes


class Marks:
    """What was noted of all batches, in their order."""

    def __init__(self) -> None:
        self._batches: list[_Batch] = []
        self._devices: list[Device] = []

    def copying_in(self, device: Device, copy: Copy) -> None:
        """Enqueue a copy between two events."""
        self._batches.append(_Batch())
        self._devices.append(device)
        self._between_events(device, copy)
        self._batches[-1].copied_in_at = time.perf_counter()

    def copying_out(self, device: Device, copy: Copy) -> None:
        """Enqueue the copy that follows."""
        self._batches[-1].computing_at = time.perf_counter()
        self._between_events(device, copy)

    def forget(self) -> None:
        """Forget what was noted so far."""
        self._batches.clear()
        self._devices.clear()

    def parts(self) -> list[Parts]:
        """Return the parts of all batches, each of which was collected."""
        found = []
        for batch, device in zip(self._batches, self._devices, strict=True):
            with device.current():
                in_began, in_ended, out_began, out_ended = batch.events
                out_ended.wait()
                found.append(
                    Parts(
                        to_device_s=in_ended.seconds_since(in_began),
                        compute_s=out_began.seconds_since(in_ended),
                        from_device_s=out_ended.seconds_since(out_began),
                        enqueue_s=batch.computing_at - batch.copied_in_at,
                    )
                )
        return found

    def _between_events(self, device: Device, copy: Copy) -> None:
        begin, end = device.event(timed=True), device.event(timed=True)
        begin.record()
        copy()
        end.record()
        self._batches[-1].events += [begin, end]


def timing(driver: type[Device], marks: Marks) -> type[Device]:
    """Return a driver that does the same, and notes its copies."""

    class Timing(driver):  # type: ignore[misc, valid-type]
        def enqueue_copy_in(self, to: int, source: Floats) -> None:
            marks.copying_in(self, lambda: super(Timing, self).enqueue_copy_in(to, source))

        def enqueue_copy_out(self, to: Floats, source: int) -> None:
            marks.copying_out(self, lambda: super(Timing, self).enqueue_copy_out(to, source))

    return Timing
