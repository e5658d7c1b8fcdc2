"""The backends of the runtime as variants: they execute a bundle."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

import numpy as np

from wmh_bench.baseline.variant import OpenVariant, Variant
from wmh_bench.selection import CPU_BACKEND_NAMES, select_backend_precisions
from wmh_runtime.backends.base import Backend
from wmh_runtime.backends.gpu.device import Device
from wmh_runtime.backends.gpu.driver import device_type
from wmh_runtime.backends.onnx_graph import CpuBackend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.inference.backend_factory import BackendOptions
from wmh_runtime.inference.backend_selection import build_unverified
from wmh_runtime.precision import Precision
from wmh_runtime.types import Floats


class RuntimeVariant(Variant):
    """A backend, timed as in a run, from host memory to host memory.

    Several batches are in flight, so a time is the interval between two results. If the backend
    executes several batches at the same time (CPUs), a time is the mean over these batches.

    Args:
        backend: name.
        precision: of the computation.
        batch_size: slices per batch.
        bundle: to execute.
    """

    is_runtime = True

    def __init__(self, backend: str, precision: Precision, batch_size: int, bundle: Bundle) -> None:
        super().__init__(backend, precision, batch_size)
        self._bundle = bundle

    @contextmanager
    def open(self) -> Iterator[OpenVariant]:
        """Open the backend."""
        options = BackendOptions(views=8, precision=self.precision, batch_size=self.batch_size)
        (backend,) = build_unverified(self._bundle, self.name, options)
        with ExitStack() as stack:
            gpu = None
            if not isinstance(backend, CpuBackend):
                gpu = stack.enter_context(closing(device_type()(0)))
            free_bytes = _free_bytes(gpu)
            yield _OpenRuntimeVariant(stack.enter_context(backend), gpu, free_bytes)


class _OpenRuntimeVariant(OpenVariant):
    def __init__(self, backend: Backend, gpu: Device | None, free_bytes_before: int) -> None:
        self._backend = backend
        self._gpu = gpu
        self._free_bytes_before = free_bytes_before

    @property
    def memory_mb(self) -> float | None:
        if self._gpu is None:
            return None
        return round((self._free_bytes_before - _free_bytes(self._gpu)) / 1e6, 1)

    def predict(self, slices: Floats) -> Floats:
        return self._backend.predict(slices)

    def time_batches(self, batch: Floats, count: int) -> list[float]:
        num_streams = self._backend.num_streams
        ends_s = [time.perf_counter()]
        for _ in self._backend.execute_all(list(batch) for _ in range(count * num_streams)):
            ends_s.append(time.perf_counter())
        return (np.diff(ends_s[::num_streams]) / num_streams).tolist()


def _free_bytes(gpu: Device | None) -> int:
    if gpu is None:
        return 0
    with gpu.activate():
        return gpu.free_bytes()


def runtime_variants(
    bundle: Bundle, batch_sizes: Sequence[int], *, on_gpu: bool
) -> Iterator[RuntimeVariant]:
    """Yield all backends and precisions, either on the GPU or on the CPU.

    Args:
        bundle: verified.
        batch_sizes: slices per batch on a GPU. CPUs always take one slice, which is fastest.
        on_gpu: whether to use the GPU.
    """
    for name, precision in select_backend_precisions((), ()):
        if (name in CPU_BACKEND_NAMES) is not on_gpu:
            for batch_size in batch_sizes if on_gpu else (1,):
                yield RuntimeVariant(name, precision, batch_size, bundle)
