"""Timing batches on a backend that is open: alone, on a GPU in parts, and as a run has them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence

from pydantic import Field

from wmh_bench.timing.times import Times, for_long_enough, in_ms
from wmh_bench.timing.timing_device import Marks
from wmh_runtime.backends.base import Backend, BlockingBackend
from wmh_runtime.schema import StrictModel
from wmh_runtime.types import Floats

_ENQUEUE_BOUND = 0.8  # trtexec's: beyond this share of computing the host is what is waited for
_FEWEST_BATCHES = 5


class Parts(StrictModel):
    """What a batch takes on a GPU, by the device's own events: medians, milliseconds."""

    to_device_ms: float
    compute_ms: float = Field(
        description="between the copies; of ONNX Runtime with the launches, since its own stream"
        " is waited for"
    )
    from_device_ms: float
    enqueue_ms: float | None = Field(
        description="of the host, to enqueue what computes; null of ONNX Runtime, which returns"
        " when it has computed"
    )

    @property
    def warnings(self) -> list[str]:
        """What to doubt of them, in words."""
        found = []
        if self.enqueue_ms is not None and self.enqueue_ms > _ENQUEUE_BOUND * self.compute_ms:
            found.append(
                f"enqueueing takes {self.enqueue_ms:.3g} ms, computing {self.compute_ms:.3g}: the"
                " host may be waited for"
            )
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
        marks: what the GPU notes.
        least_s: that it is timed.

    Returns:
        The times, and the parts of the same batches; None on a processor.
    """

    def seconds_of(count: int) -> list[float]:
        seconds = []
        for _ in range(count):
            started = time.perf_counter()
            backend.execute(batch)
            seconds.append(time.perf_counter() - started)
        return seconds

    with marks.made():
        seconds = for_long_enough(seconds_of, least_s)
        found = marks.parts()[-len(seconds) :]
    times = Times.of(seconds)
    if not found:
        return times, None
    returns_when_done = isinstance(backend, BlockingBackend)
    return times, Parts(
        to_device_ms=in_ms(statistics.median(one.to_device_s for one in found)),
        compute_ms=in_ms(statistics.median(one.compute_s for one in found)),
        from_device_ms=in_ms(statistics.median(one.from_device_s for one in found)),
        enqueue_ms=None
        if returns_when_done
        else in_ms(statistics.median(one.enqueue_s for one in found)),
    )


def batches_per_s(backend: Backend, batches: Iterator[Sequence[Floats]], least_s: float) -> float:
    """Execute batches as a run does, several under way at a time, and count what comes back.

    The first warm up, and some are still under way when the last is counted, so that the backend is
    as busy at the end as at the beginning. Where several are executed at the same time, they come
    back together: whole rounds are counted.

    Args:
        backend: open.
        batches: endless.
        least_s: that is counted, and five batches at least.
    """
    rounds = backend.num_streams
    warm_up = rounds * -(-backend.max_in_flight // rounds)
    is_enough = False

    def coming() -> Iterator[Sequence[Floats]]:
        while not is_enough:
            yield next(batches)

    began_s = per_s = 0.0
    for number, _ in enumerate(backend.execute_all(coming()), start=1 - warm_up):
        now_s = time.perf_counter()
        if number == 0:
            began_s = now_s
        elif number > 0 and number % rounds == 0 and not is_enough:
            is_enough = now_s - began_s >= least_s and number >= _FEWEST_BATCHES
            per_s = number / (now_s - began_s)
    return per_s
