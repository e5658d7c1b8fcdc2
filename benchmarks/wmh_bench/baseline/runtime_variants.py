"""The runtime's ways to execute slices of eight views: its backends, on a bundle."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

import numpy as np

from wmh_bench.baseline.ways import Opened, Way
from wmh_bench.selection import ON_PROCESSORS, ways_of
from wmh_runtime.backends.base import Backend
from wmh_runtime.backends.gpu.device import Device
from wmh_runtime.backends.gpu.driver import device_type
from wmh_runtime.backends.onnx_graph import CpuBackend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.inference.backend_selection import BackendOptions, build_unverified
from wmh_runtime.precision import Precision
from wmh_runtime.types import Floats


class RuntimeWay(Way):
    """A backend, timed as a run uses it, from host memory to host memory.

    Several batches are under way at a time, so a time is what passes from one result to the next;
    where some are executed at the same time, as on processors, it is a mean over as many.

    Args:
        backend: its name.
        precision: to compute in.
        slices: at a time.
        bundle: that is executed.
    """

    is_runtime = True

    def __init__(self, backend: str, precision: Precision, slices: int, bundle: Bundle) -> None:
        super().__init__(backend, precision, slices)
        self._bundle = bundle

    @contextmanager
    def open(self) -> Iterator[Opened]:
        """Open the backend."""
        wanted = BackendOptions(views=8, precision=self.precision, batch_size=self.slices)
        (backend,) = build_unverified(self._bundle, self.name, wanted)
        with ExitStack() as stack:
            gpu = None
            if not isinstance(backend, CpuBackend):
                gpu = stack.enter_context(closing(device_type()(0)))
            free_bytes = _free_bytes(gpu)
            yield _OpenedBackend(stack.enter_context(backend), gpu, free_bytes)


class _OpenedBackend(Opened):
    def __init__(self, backend: Backend, gpu: Device | None, free_bytes: int) -> None:
        self._backend = backend
        self._gpu = gpu
        self._free_bytes = free_bytes  # before it was opened

    @property
    def memory_mb(self) -> float | None:
        if self._gpu is None:
            return None
        return round((self._free_bytes - _free_bytes(self._gpu)) / 1e6, 1)

    def predict(self, slices: Floats) -> Floats:
        return self._backend.predict(slices)

    def seconds(self, batch: Floats, count: int) -> list[float]:
        num_streams = self._backend.num_streams
        ends = [time.perf_counter()]
        for _ in self._backend.execute_all(list(batch) for _ in range(count * num_streams)):
            ends.append(time.perf_counter())
        return (np.diff(ends[::num_streams]) / num_streams).tolist()


def _free_bytes(gpu: Device | None) -> int:
    if gpu is None:
        return 0
    with gpu.current():
        return gpu.free_bytes()


def runtime_ways(bundle: Bundle, batches: Sequence[int], *, on_gpu: bool) -> Iterator[RuntimeWay]:
    """Yield what the runtime can do, on a GPU or on the processor.

    Args:
        bundle: verified.
        batches: slices at a time.
        on_gpu: instead of the processor.
    """
    for name, precision in ways_of((), ()):
        if (name in ON_PROCESSORS) is not on_gpu:
            for slices in batches if on_gpu else (1,):  # processors are best so
                yield RuntimeWay(name, precision, slices, bundle)
