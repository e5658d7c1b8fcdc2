"""What a device can do at most by PyTorch: matrix products of each precision, and copies."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import torch

from wmh_bench.baseline.result import Copies
from wmh_bench.baseline.timing import TORCH_TYPES, float32_as_it_is, seconds_of
from wmh_bench.timing.times import for_long_enough
from wmh_runtime.precision import Precision

_SIDE = {"cpu": 3072, "cuda": 8192}  # of the matrices: a product takes a millisecond or more
_COPIED_BYTES = 1 << 28
_LEAST_S = 1.0


def tflop_per_s(precisions: Sequence[Precision], device: torch.device) -> dict[Precision, float]:
    """Time products of large matrices of random values, since zeros can be faster."""
    side = _SIDE[device.type]
    found: dict[Precision, float] = {}
    for precision in precisions:
        left, right, product = (
            torch.randn(side, side, device=device).to(TORCH_TYPES[precision]) for _ in range(3)
        )
        with float32_as_it_is():
            median_s = _median_s(lambda: torch.mm(left, right, out=product), device)  # noqa: B023
        found[precision] = round(2 * side**3 / median_s / 1e12, 4)
    return found


def measure_copies(device: torch.device) -> Copies | None:
    """Time copies to a GPU, from it and within it; None on a processor."""
    if device.type != "cuda":
        return None
    host = torch.randint(0, 255, (_COPIED_BYTES,), dtype=torch.uint8).pin_memory()
    here = host.to(device)
    there = torch.empty_like(here)

    def gb_per_s(copy: Callable[[], object], times: int = 1) -> float:
        return round(times * _COPIED_BYTES / _median_s(copy, device) / 1e9, 1)

    return Copies(
        to_device_gb_per_s=gb_per_s(lambda: here.copy_(host, non_blocking=True)),
        from_device_gb_per_s=gb_per_s(lambda: host.copy_(here, non_blocking=True)),
        within_device_gb_per_s=gb_per_s(lambda: there.copy_(here), times=2),
    )


def _median_s(execute: Callable[[], object], device: torch.device) -> float:
    return statistics.median(
        for_long_enough(lambda count: seconds_of(execute, device, count), _LEAST_S)
    )
