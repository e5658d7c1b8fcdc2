"""What a GPU can do at most: matrix products of each precision, and copies to and from it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from wmh_runtime.strict import Strict
from wmh_runtime.types import Precision

TORCH_TYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
_SIDE = 8192  # of the matrices: a product takes a millisecond or more on the largest GPUs
_COPIED_BYTES = 1 << 28
_TIMED = 15


class Ceilings(Strict):
    """Medians, of random values, since zeros can be faster."""

    tflop_per_s: dict[Precision, float]  # of products of 8192 × 8192; float32 without TF32
    to_device_gb_per_s: float  # from pinned memory
    from_device_gb_per_s: float  # to pinned memory
    within_device_gb_per_s: float  # read and written counted


def measure_ceilings(device: torch.device) -> Ceilings:
    """Time products and copies by the device's own events."""
    host = torch.randint(0, 255, (_COPIED_BYTES,), dtype=torch.uint8).pin_memory()
    here = host.to(device)
    there = torch.empty_like(here)
    return Ceilings(
        tflop_per_s={name: _tflop_per_s(dtype, device) for name, dtype in TORCH_TYPES.items()},
        to_device_gb_per_s=_gb_per_s(lambda: here.copy_(host, non_blocking=True)),
        from_device_gb_per_s=_gb_per_s(lambda: host.copy_(here, non_blocking=True)),
        within_device_gb_per_s=_gb_per_s(lambda: there.copy_(here), times=2),
    )


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
    """Time what is enqueued again and again, each time by events around it."""
    for _ in range(warm_up):
        enqueue()
    marks = [(_mark(), _mark()) for _ in range(timed)]
    for begin, end in marks:
        begin.record()
        enqueue()
        end.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) / 1e3 for begin, end in marks]


def _mark() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _tflop_per_s(dtype: torch.dtype, device: torch.device) -> float:
    left, right, product = (torch.randn(_SIDE, _SIDE, device=device, dtype=dtype) for _ in range(3))
    with float32_as_it_is():
        seconds = device_seconds(lambda: torch.mm(left, right, out=product), _TIMED)
    return round(2 * _SIDE**3 / statistics.median(seconds) / 1e12, 1)


def _gb_per_s(copy: Callable[[], object], times: int = 1) -> float:
    seconds = device_seconds(copy, _TIMED)
    return round(times * _COPIED_BYTES / statistics.median(seconds) / 1e9, 1)
