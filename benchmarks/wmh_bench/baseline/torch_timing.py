"""Time PyTorch: on a GPU with CUDA events, and float32 without TF32."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from wmh_runtime.errors import BackendError
from wmh_runtime.precision import Precision

TORCH_DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


def torch_device(name: str) -> torch.device:
    """Return a PyTorch device.

    Args:
        name: `cpu`, `cuda`, or empty: a GPU if PyTorch finds one, else the CPU.

    Raises:
        BackendError: the name is `cuda`, and PyTorch finds no GPU.
    """
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise BackendError("PyTorch finds no GPU", "Check the driver with nvidia-smi.")
    return torch.device(name or ("cuda" if has_gpu else "cpu"))


@contextmanager
def without_tf32() -> Iterator[None]:
    """Compute float32 without TF32, which rounds to ten bits of mantissa."""
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32
    matmul.allow_tf32 = convolution.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, convolution.allow_tf32 = before


def time_on_device(execute: Callable[[], object], device: torch.device, count: int) -> list[float]:
    """Execute something several times and return the seconds of each time.

    Args:
        execute: on a GPU, enqueues work on PyTorch's current stream.
        device: that executes.
        count: how many times.
    """
    if device.type == "cuda":
        return _time_with_events(execute, count)
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        execute()
        seconds.append(time.perf_counter() - started)
    return seconds


def _time_with_events(enqueue: Callable[[], object], count: int) -> list[float]:
    events = [(_create_event(), _create_event()) for _ in range(count)]
    for start, end in events:
        start.record()
        enqueue()
        end.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) / 1e3 for start, end in events]


def _create_event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
