"""Measure the matmul ceiling and the copy bandwidth of a device with PyTorch."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import torch

from wmh_bench.baseline.result import CopyBandwidth
from wmh_bench.baseline.torch_timing import TORCH_DTYPES, time_on_device, without_tf32
from wmh_bench.timing.times import time_repeatedly
from wmh_runtime.precision import Precision

_MATRIX_SIZE = {"cpu": 3072, "cuda": 8192}  # one multiplication takes a millisecond or more
_COPY_BYTES = 1 << 28
_MIN_DURATION_S = 1.0


def measure_matmul_ceiling(
    precisions: Sequence[Precision], device: torch.device
) -> dict[Precision, float]:
    """Return the speed of large matrix multiplications in each precision, TFLOP/s.

    The matrices are random, because some devices multiply zeros faster.
    """
    size = _MATRIX_SIZE[device.type]
    tflop_per_s: dict[Precision, float] = {}
    for precision in precisions:
        left, right, product = (
            torch.randn(size, size, device=device).to(TORCH_DTYPES[precision]) for _ in range(3)
        )
        with without_tf32():
            median_s = _median_s(lambda: torch.mm(left, right, out=product), device)  # noqa: B023
        tflop_per_s[precision] = round(2 * size**3 / median_s / 1e12, 4)
    return tflop_per_s


def measure_copy_bandwidth(device: torch.device) -> CopyBandwidth | None:
    """Time copies to a GPU, from it and within it. None on a CPU."""
    if device.type != "cuda":
        return None
    host = torch.randint(0, 255, (_COPY_BYTES,), dtype=torch.uint8).pin_memory()
    source = host.to(device)
    target = torch.empty_like(source)

    def gb_per_s(copy: Callable[[], object], passes: int = 1) -> float:
        return round(passes * _COPY_BYTES / _median_s(copy, device) / 1e9, 1)

    return CopyBandwidth(
        to_device_gb_per_s=gb_per_s(lambda: source.copy_(host, non_blocking=True)),
        from_device_gb_per_s=gb_per_s(lambda: host.copy_(source, non_blocking=True)),
        within_device_gb_per_s=gb_per_s(lambda: target.copy_(source), passes=2),
    )


def _median_s(execute: Callable[[], object], device: torch.device) -> float:
    return statistics.median(
        time_repeatedly(lambda count: time_on_device(execute, device, count), _MIN_DURATION_S)
    )
