"""Timing on a GPU: by its own events, for a second and more, in the precision that is said."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from wmh_runtime.types import Precision

TORCH_TYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
_LEAST_S, _LEAST, _MOST = 1.0, 20, 1000


@contextmanager
def float32_as_it_is() -> Iterator[None]:
    """Compute float32 in float32: TF32, which rounds to ten bits, is another precision."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = False
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def device_seconds(enqueue: Callable[[], object], timed: int, warm_up: int = 3) -> list[float]:
    """Time what is enqueued again and again, each time by events around it.

    Args:
        enqueue: puts work on PyTorch's stream.
        timed: how often.
        warm_up: times before that are not timed.

    Returns:
        Seconds, one for each time.
    """
    for _ in range(warm_up):
        enqueue()
    marks = [(_mark(), _mark()) for _ in range(timed)]
    for begin, end in marks:
        begin.record()
        enqueue()
        end.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) / 1e3 for begin, end in marks]


def for_long_enough(seconds_of: Callable[[int], list[float]]) -> list[float]:
    """Time something as often as it takes to last a second, twenty times at least.

    Args:
        seconds_of: times it so often and returns seconds.
    """
    probe_s = min(seconds_of(2))
    return seconds_of(min(_MOST, max(_LEAST, math.ceil(_LEAST_S / probe_s))))


def _mark() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
