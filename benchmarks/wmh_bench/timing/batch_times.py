"""Time batches on an open backend: single batches, and batches in flight as in a run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence

from pydantic import Field

from wmh_bench.timing.gpu_timer import GpuTimer
from wmh_bench.timing.times import Times, time_repeatedly, to_ms
from wmh_runtime.backends.base import Backend, BlockingBackend
from wmh_runtime.schema import StrictModel
from wmh_runtime.types import Floats

# As in trtexec: above this share of the compute time, the host limits the speed.
_MAX_ENQUEUE_SHARE = 0.8
_MIN_BATCHES = 5


class GpuTimes(StrictModel):
    """Durations of a batch on a GPU, measured by events of the GPU: medians in milliseconds."""

    to_device_ms: float
    compute_ms: float = Field(
        description="between the copies; for ONNX Runtime including kernel launches, because it"
        " computes on its own stream"
    )
    from_device_ms: float
    enqueue_ms: float | None = Field(
        description="time of the host to enqueue the computation; null for ONNX Runtime, which"
        " returns when the result is ready"
    )

    @property
    def warnings(self) -> list[str]:
        """Reasons to doubt that the GPU is used fully."""
        warnings = []
        if self.enqueue_ms is not None and self.enqueue_ms > _MAX_ENQUEUE_SHARE * self.compute_ms:
            warnings.append(
                f"enqueueing takes {self.enqueue_ms:.3g} ms, computing {self.compute_ms:.3g} ms:"
                " the host may limit the speed"
            )
        copies_ms = self.to_device_ms + self.from_device_ms
        if copies_ms > self.compute_ms:
            warnings.append(f"copies take {copies_ms:.3g} ms, computing {self.compute_ms:.3g} ms")
        return warnings


def time_single_batches(
    backend: Backend, batch: Sequence[Floats], timer: GpuTimer, min_duration_s: float
) -> tuple[Times, GpuTimes | None]:
    """Time a batch while no other batch is in flight, from host memory to host memory.

    Args:
        backend: open. If it uses a GPU, its driver is `timed_driver(…, timer)`.
        batch: slices, at most the batch size of the backend.
        timer: of the GPU's driver.
        min_duration_s: minimum total duration.

    Returns:
        The times of the batches, and their durations on the GPU; None on a CPU.
    """

    def run(count: int) -> list[float]:
        seconds = []
        for _ in range(count):
            started = time.perf_counter()
            backend.execute(batch)
            seconds.append(time.perf_counter() - started)
        return seconds

    with timer.recording():
        seconds = time_repeatedly(run, min_duration_s)
        on_gpu = timer.batch_seconds()[-len(seconds) :]
    times = Times.from_seconds(seconds)
    if not on_gpu:
        return times, None
    enqueue_ms = to_ms(statistics.median(one.enqueue_s for one in on_gpu))
    return times, GpuTimes(
        to_device_ms=to_ms(statistics.median(one.to_device_s for one in on_gpu)),
        compute_ms=to_ms(statistics.median(one.compute_s for one in on_gpu)),
        from_device_ms=to_ms(statistics.median(one.from_device_s for one in on_gpu)),
        enqueue_ms=None if isinstance(backend, BlockingBackend) else enqueue_ms,
    )


def batches_per_second(
    backend: Backend, batches: Iterator[Sequence[Floats]], min_duration_s: float
) -> float:
    """Measure the rate of batches with as many in flight as in a run.

    The first batches are a warm-up. Other batches are still in flight when the last one is
    counted, so the backend is equally busy at the start and at the end. A backend that executes
    several batches at the same time returns them together, so only whole rounds are counted.

    Args:
        backend: open.
        batches: endless.
        min_duration_s: minimum duration that is counted; at least five batches are.
    """
    round_size = backend.num_streams
    warm_up = round_size * -(-backend.max_in_flight // round_size)
    is_enough = False

    def until_enough() -> Iterator[Sequence[Floats]]:
        while not is_enough:
            yield next(batches)

    started_s = rate = 0.0
    for number, _ in enumerate(backend.execute_all(until_enough()), start=1 - warm_up):
        now_s = time.perf_counter()
        if number == 0:
            started_s = now_s
        elif number > 0 and number % round_size == 0 and not is_enough:
            is_enough = now_s - started_s >= min_duration_s and number >= _MIN_BATCHES
            rate = number / (now_s - started_s)
    return rate
