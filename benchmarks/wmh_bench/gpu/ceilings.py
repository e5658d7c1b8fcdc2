"""What a GPU can do at most: matrix products of each precision, and copies to and from it."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch

from wmh_bench.gpu.timing import TORCH_TYPES, device_seconds, float32_as_it_is, for_long_enough
from wmh_runtime.strict import Strict
from wmh_runtime.types import Precision

_SIDE = 8192  # of the matrices: a product takes a millisecond or more on the largest GPUs
_COPIED_BYTES = 1 << 28


class Ceilings(Strict):
    """Medians over a second and more, of random values, since zeros can be faster."""

    tflop_per_s: dict[Precision, float]  # of products of 8192 × 8192; float32 without TF32
    to_device_gb_per_s: float  # from pinned memory
    from_device_gb_per_s: float  # to pinned memory
    within_device_gb_per_s: float  # read and written counted


def measure_ceilings(device: torch.device) -> Ceilings:
    """Time products and copies.

    Args:
        device: the GPU; it needs about 0.8 GB.
    """
    host = torch.randint(0, 255, (_COPIED_BYTES,), dtype=torch.uint8).pin_memory()
    here = host.to(device)
    there = torch.empty_like(here)
    return Ceilings(
        tflop_per_s={name: _tflop_per_s(dtype, device) for name, dtype in TORCH_TYPES.items()},
        to_device_gb_per_s=_gb_per_s(lambda: here.copy_(host, non_blocking=True)),
        from_device_gb_per_s=_gb_per_s(lambda: host.copy_(here, non_blocking=True)),
        within_device_gb_per_s=_gb_per_s(lambda: there.copy_(here), times=2),
    )


def _tflop_per_s(dtype: torch.dtype, device: torch.device) -> float:
    left, right, product = (torch.randn(_SIDE, _SIDE, device=device, dtype=dtype) for _ in range(3))
    with float32_as_it_is():
        median_s = _median_s(lambda: torch.mm(left, right, out=product))
    return round(2 * _SIDE**3 / median_s / 1e12, 1)


def _gb_per_s(copy: Callable[[], object], times: int = 1) -> float:
    return round(times * _COPIED_BYTES / _median_s(copy) / 1e9, 1)


def _median_s(enqueue: Callable[[], object]) -> float:
    return statistics.median(for_long_enough(lambda timed: device_seconds(enqueue, timed)))
