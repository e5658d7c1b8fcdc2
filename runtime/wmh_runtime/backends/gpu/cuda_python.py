"""A GPU driven by NVIDIA's cuda-bindings."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from wmh_runtime.backends.gpu.device import Device, Event, Gpu
from wmh_runtime.errors import BackendError, DeviceLostError, NoGpuError, NotInstalledError
from wmh_runtime.types import Floats

_FLOAT_BYTES = 4


class CudaDevice(Device):
    """A GPU, selected by its index."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        from cuda.bindings import runtime

        self._cuda: Any = runtime
        self._index = index
        self._resources: list[tuple[str, Any]] = []  # (function that frees the handle, handle)
        with self.activate():
            self._stream = self._create(
                "cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking, free="cudaStreamDestroy"
            )
        self.stream = int(self._stream)

    @classmethod
    def list_gpus(cls) -> list[Gpu]:
        """Return the GPUs that the driver reports."""
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            problem, advice = "cuda-bindings is not installed", "Run: pip install cuda-bindings"
            raise NotInstalledError(problem, advice) from error
        status, count = runtime.cudaGetDeviceCount()
        if status != runtime.cudaError_t.cudaSuccess or not count:
            raise NoGpuError(
                f"no GPU can be used ({status.name})", "Check the driver with nvidia-smi."
            )
        gpus = []
        for index in range(count):
            status, properties = runtime.cudaGetDeviceProperties(index)
            if status != runtime.cudaError_t.cudaSuccess:
                problem = f"the properties of GPU {index} cannot be read ({status.name})"
                raise BackendError(problem, "Check the driver with nvidia-smi.")
            name = properties.name.rstrip(b"\0").decode()
            gpus.append(Gpu(name, f"sm{properties.major}{properties.minor}"))
        return gpus

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Make this the current GPU of the calling thread."""
        self.call("cudaSetDevice", self._index)
        yield

    def allocate_pinned(self, shape: tuple[int, ...]) -> Floats:
        """Allocate page-locked host memory."""
        count = math.prod(shape)
        address = self._create("cudaMallocHost", count * _FLOAT_BYTES, free="cudaFreeHost")
        pointer = ctypes.cast(int(address), ctypes.POINTER(ctypes.c_float))
        array = np.ctypeslib.as_array(pointer, shape)
        array[...] = 0
        return array

    def allocate(self, size_bytes: int) -> int:
        """Allocate GPU memory."""
        return int(self._create("cudaMalloc", size_bytes, free="cudaFree"))

    def enqueue_copy_to_device(self, address: int, source: Floats) -> None:
        """Enqueue a copy to the device."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.call("cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, self._stream)

    def enqueue_copy_to_host(self, target: Floats, address: int) -> None:
        """Enqueue a copy from the device."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.call("cudaMemcpyAsync", target.ctypes.data, address, target.nbytes, kind, self._stream)

    def free_bytes(self) -> int:
        """Return the free GPU memory in bytes."""
        free, _total = self.call("cudaMemGetInfo")
        return int(free)

    def create_event(self, *, timed: bool = False) -> Event:
        """Create an event. A thread that waits for it uses no CPU time."""
        flags = self._cuda.cudaEventBlockingSync
        flags |= 0 if timed else self._cuda.cudaEventDisableTiming
        handle = self._create("cudaEventCreateWithFlags", flags, free="cudaEventDestroy")
        return _CudaEvent(self, handle, self._stream)

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """Capture the work as a CUDA graph: one launch instead of hundreds."""
        enqueue()  # first run without capture: it may allocate, which capture does not allow
        self.call("cudaStreamSynchronize", self._stream)
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", self._stream, mode)
        try:
            enqueue()
        finally:  # until the capture ends, the stream can do nothing else
            status, graph = self._cuda.cudaStreamEndCapture(self._stream)
        if status != self._cuda.cudaError_t.cudaSuccess:
            problem = f"the CUDA graph cannot be captured ({status.name})"
            raise BackendError(problem, "Choose another backend.", about=self.gpu.name)
        executable = self._create("cudaGraphInstantiate", graph, 0, free="cudaGraphExecDestroy")
        self.call("cudaGraphDestroy", graph)
        return lambda: self.call("cudaGraphLaunch", executable, self._stream)

    def close(self) -> None:
        """Free everything. Errors of a device that failed are ignored."""
        with suppress(DeviceLostError), self.activate():
            with suppress(DeviceLostError):
                self.call("cudaStreamSynchronize", self._stream)
            for free, handle in reversed(self._resources):
                with suppress(DeviceLostError):
                    self.call(free, handle)
        self._resources = []

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function of the CUDA runtime, check its status and return its other results.

        Raises:
            BackendError: there is too little memory.
            DeviceLostError: any other failure.
        """
        status, *results = getattr(self._cuda, function)(*arguments)
        if status == self._cuda.cudaError_t.cudaErrorMemoryAllocation:
            problem = f"too little free memory ({function})"
            remedy = "Use a smaller batch, or close other programs."
            raise BackendError(problem, remedy, about=self.gpu.name)
        if status != self._cuda.cudaError_t.cudaSuccess:
            raise DeviceLostError(
                f"failed ({function}: {status.name})",
                "Check it with nvidia-smi, then run the same command again.",
                about=self.gpu.name,
            )
        return results

    def _create(self, function: str, *arguments: Any, free: str) -> Any:
        """Create a resource, and remember the function that frees it."""
        (handle,) = self.call(function, *arguments)
        self._resources.append((free, handle))
        return handle


class _CudaEvent(Event):
    def __init__(self, device: CudaDevice, handle: Any, stream: Any) -> None:
        self._device, self._handle, self._stream = device, handle, stream

    def record(self) -> None:
        self._device.call("cudaEventRecord", self._handle, self._stream)

    def wait(self) -> None:
        self._device.call("cudaEventSynchronize", self._handle)

    def seconds_since(self, earlier: Event) -> float:
        assert isinstance(earlier, _CudaEvent)
        (ms,) = self._device.call("cudaEventElapsedTime", earlier._handle, self._handle)
        return float(ms) / 1e3
