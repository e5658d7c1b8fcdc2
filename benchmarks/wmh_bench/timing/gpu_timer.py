"""A GPU that notes when copies begin and end: how long is copied, and how long computed between.

Backends copy a batch in, compute and copy out; so four events on the device's stream tell the three
parts of a batch. Nothing else of the runtime is changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from wmh_runtime.backends.gpu.device import Device, Event
from wmh_runtime.types import Floats

Copy = Callable[[], None]
_OF_A_BATCH = 4  # events: begin and end of the copy in, of the copy out


@dataclass(frozen=True)
class BatchSeconds:
    """The parts of one batch."""

    to_device_s: float
    compute_s: float
    from_device_s: float
    enqueue_s: float  # of the host, for what computes


@dataclass
class _Batch:
    device: Device
    events: list[Event] = field(default_factory=list)
    copied_in_at: float = 0.0  # of the host's clock: all of it is enqueued
    computing_at: float = 0.0  # likewise of what computes


class Marks:
    """What was noted of all batches, in their order."""

    def __init__(self) -> None:
        self._batches: list[_Batch] = []
        self._are_made = False

    @contextmanager
    def made(self) -> Iterator[None]:
        """Note batches for as long as the block lasts; what was noted before is forgotten."""
        self._batches = []
        self._are_made = True
        try:
            yield
        finally:
            self._are_made = False

    def copying_in(self, device: Device, copy: Copy) -> None:
        """Enqueue a copy between two events."""
        if not self._are_made:
            copy()
            return
        self._batches.append(_Batch(device))
        self._between_events(copy)
        self._batches[-1].copied_in_at = time.perf_counter()

    def copying_out(self, copy: Copy) -> None:
        """Enqueue the copy that follows."""
        if not (self._are_made and self._batches):
            copy()
            return
        self._batches[-1].computing_at = time.perf_counter()
        self._between_events(copy)

    def parts(self) -> list[BatchSeconds]:
        """Return the parts of all batches that went in and came out."""
        found = []
        for batch in self._batches:
            if len(batch.events) != _OF_A_BATCH:
                continue
            with batch.device.current():
                in_began, in_ended, out_began, out_ended = batch.events
                out_ended.wait()
                found.append(
                    BatchSeconds(
                        to_device_s=in_ended.seconds_since(in_began),
                        compute_s=out_began.seconds_since(in_ended),
                        from_device_s=out_ended.seconds_since(out_began),
                        enqueue_s=batch.computing_at - batch.copied_in_at,
                    )
                )
        return found

    def _between_events(self, copy: Copy) -> None:
        batch = self._batches[-1]
        begin, end = (batch.device.event(timed=True) for _ in range(2))
        begin.record()
        copy()
        end.record()
        batch.events += [begin, end]


def timing(driver: type[Device], marks: Marks) -> type[Device]:
    """Return a driver that does the same, and notes its copies."""

    class Timing(driver):  # type: ignore[misc, valid-type]
        def enqueue_copy_in(self, to: int, source: Floats) -> None:
            marks.copying_in(self, lambda: super(Timing, self).enqueue_copy_in(to, source))

        def enqueue_copy_out(self, to: Floats, source: int) -> None:
            marks.copying_out(lambda: super(Timing, self).enqueue_copy_out(to, source))

    return Timing
