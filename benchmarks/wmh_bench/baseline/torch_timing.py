"""Timing PyTorch: on a GPU by the device's own events, in the precision that is said."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from wmh_runtime.errors import BackendError, InputError
from wmh_runtime.precision import Precision

TORCH_TYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


def device_named(name: str) -> torch.device:
    """Return a device by its name; where that is empty, a GPU if PyTorch sees one.

    Raises:
        BackendError: it is a GPU, and PyTorch sees none.
        InputError: it is no such name.
    """
    has_gpu = torch.cuda.is_available()
    name = name.lower() or ("cuda" if has_gpu else "cpu")
    if name not in ("cpu", "cuda"):
        raise InputError(f"is {name}", "Choose from: cpu, cuda.", about="--device")
    if name == "cuda" and not has_gpu:
        raise BackendError("PyTorch sees no GPU", "Check the driver with nvidia-smi.")
    return torch.device(name)


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


def seconds_of(execute: Callable[[], object], device: torch.device, count: int) -> list[float]:
    """Time what is executed again and again: seconds, one for each time.

    Args:
        execute: on a GPU, enqueues on PyTorch's stream.
        device: that executes.
        count: how often.
    """
    if device.type == "cuda":
        return _by_events(execute, count)
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        execute()
        seconds.append(time.perf_counter() - started)
    return seconds


def _by_events(enqueue: Callable[[], object], count: int) -> list[float]:
    marks = [(_mark(), _mark()) for _ in range(count)]
    for begin, end in marks:
        begin.record()
        enqueue()
        end.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) / 1e3 for begin, end in marks]


def _mark() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
