"""Timing batches on a backend that is open: alone, on a GPU in parts, and as many as a run has."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from pydantic import Field

from wmh_bench.times import Times, for_long_enough, how_often, in_ms
from wmh_bench.timing_device import Marks
from wmh_runtime.backends.base import Backend
from wmh_runtime.strict import Strict
from wmh_runtime.types import Floats

_ENQUEUE_BOUND = 0.8  # trtexec's: beyond this share of computing the host is what is waited for


class Parts(Strict):
    """What a batch takes on a GPU, by the device's own events: medians, milliseconds."""

    to_device_ms: float
    compute_ms: float
    from_device_ms: float
    enqueue_ms: float = Field(description="of the host, to enqueue what computes")

    @property
    def warnings(self) -> list[str]:
        """What to doubt of them, in words."""
        found = []
        if self.enqueue_ms > _ENQUEUE_BOUND * self.compute_ms:
            share = self.enqueue_ms / self.compute_ms
            found.append(f"enqueueing takes {share:.0%} of computing: the host may be waited for")
        copies_ms = self.to_device_ms + self.from_device_ms
        if copies_ms > self.compute_ms:
            found.append(f"copies take {copies_ms:.3g} ms, computing {self.compute_ms:.3g}")
        return found


def time_alone(
    backend: Backend, batch: Sequence[Floats], marks: Marks, least_s: float
) -> tuple[Times, Parts | None]:
    """Time a batch when nothing else is under way, host memory to host memory.

    Args:
        backend: open; its GPU, if it has one, is driven by `timing(…, marks)`.
        batch: slices, at most as many as the backend takes at a time.
        marks: what the GPU noted.
        least_s: that it is timed.

    Returns:
        The times, and the parts of the same batches; None on a processor.
    """

    def seconds_of(count: int) -> list[float]:
        marks.forget()
        seconds = []
        for _ in range(count):
            started = time.perf_counter()
            backend.execute(batch)
            seconds.append(time.perf_counter() - started)
        return seconds

    times = Times.of(for_long_enough(seconds_of, least_s))
    found = marks.parts()
    if not found:
        return times, None
    return times, Parts(
        to_device_ms=in_ms(statistics.median(one.to_device_s for one in found)),
        compute_ms=in_ms(statistics.median(one.compute_s for one in found)),
        from_device_ms=in_ms(statistics.median(one.from_device_s for one in found)),
        enqueue_ms=in_ms(statistics.median(one.enqueue_s for one in found)),
    )


def batches_per_s(backend: Backend, batch: Sequence[Floats], times: Times, least_s: float) -> float:
    """Execute a batch again and again, with as many under way as a run has; the first warm up.

    Args:
        backend: open.
        batch: slices.
        times: of the batch alone.
        least_s: that it is timed.
    """
    warm_up = backend.under_way
    count = warm_up + how_often(times.median_ms / 1e3, least_s)
    ends = []
    for _ in backend.execute_all(batch for _ in range(count)):
        ends.append(time.perf_counter())
    return (count - warm_up) / (ends[-1] - ends[warm_up - 1])
