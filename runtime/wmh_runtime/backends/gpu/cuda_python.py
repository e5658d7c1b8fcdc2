"""A GPU driven by NVIDIA's own cuda-bindings."""

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
    """A GPU by its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        from cuda.bindings import runtime

        self._cuda: Any = runtime
        self._number = number
        self._taken: list[tuple[str, Any]] = []  # with what gives it back
        with self.current():
            self._stream = self._take(
                "cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking, back="cudaStreamDestroy"
            )
        self.stream = int(self._stream)

    @classmethod
    def gpus(cls) -> list[Gpu]:
        """Ask the driver, which is safe where there is none."""
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            advice = "Run: pip install cuda-bindings"
            raise NotInstalledError("is not installed", advice, about="cuda-bindings") from error
        status, count = runtime.cudaGetDeviceCount()
        if status != runtime.cudaError_t.cudaSuccess or not count:
            raise NoGpuError(
                f"no GPU can be used ({status.name})", "Check the driver with nvidia-smi."
            )
        gpus = []
        for number in range(count):
            status, facts = runtime.cudaGetDeviceProperties(number)
            if status != runtime.cudaError_t.cudaSuccess:
                problem = f"GPU {number} cannot be asked ({status.name})"
                raise BackendError(problem, "Check the driver with nvidia-smi.")
            name = facts.name.rstrip(b"\0").decode()
            gpus.append(Gpu(name, f"sm{facts.major}{facts.minor}"))
        return gpus

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make it the device of the calling thread."""
        self.call("cudaSetDevice", self._number)
        yield

    def pinned(self, shape: tuple[int, ...]) -> Floats:
        """Take page-locked host memory."""
        count = math.prod(shape)
        address = self._take("cudaMallocHost", count * _FLOAT_BYTES, back="cudaFreeHost")
        place = ctypes.cast(int(address), ctypes.POINTER(ctypes.c_float))
        array = np.ctypeslib.as_array(place, shape)
        array[...] = 0
        return array

    def memory(self, size_bytes: int) -> int:
        """Take device memory."""
        return int(self._take("cudaMalloc", size_bytes, back="cudaFree"))

    def enqueue_copy_in(self, to: int, source: Floats) -> None:
        """Enqueue a copy to the device."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.call("cudaMemcpyAsync", to, source.ctypes.data, source.nbytes, kind, self._stream)

    def enqueue_copy_out(self, to: Floats, source: int) -> None:
        """Enqueue a copy from the device."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.call("cudaMemcpyAsync", to.ctypes.data, source, to.nbytes, kind, self._stream)

    def free_bytes(self) -> int:
        """Ask the driver."""
        free, _total = self.call("cudaMemGetInfo")
        return int(free)

    def event(self, *, timed: bool = False) -> Event:
        """Make an event, for which a thread waits without keeping a processor busy."""
        flags = self._cuda.cudaEventBlockingSync
        flags |= 0 if timed else self._cuda.cudaEventDisableTiming
        handle = self._take("cudaEventCreateWithFlags", flags, back="cudaEventDestroy")
        return _CudaEvent(self, handle, self._stream)

    def replayable(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """Capture a CUDA graph: one launch instead of hundreds."""
        enqueue()  # once without: what is made at the first call cannot be captured
        self.call("cudaStreamSynchronize", self._stream)
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", self._stream, mode)
        try:
            enqueue()
        finally:  # a stream that still captures can do nothing else
            status, graph = self._cuda.cudaStreamEndCapture(self._stream)
        if status != self._cuda.cudaError_t.cudaSuccess:
            problem = f"what it executes cannot be captured ({status.name})"
            raise BackendError(problem, "Choose another --backend.", about=self.gpu.name)
        executable = self._take("cudaGraphInstantiate", graph, 0, back="cudaGraphExecDestroy")
        self.call("cudaGraphDestroy", graph)
        return lambda: self.call("cudaGraphLaunch", executable, self._stream)

    def close(self) -> None:
        """Give everything back; a device that is gone takes nothing."""
        with suppress(DeviceLostError), self.current():
            with suppress(DeviceLostError):
                self.call("cudaStreamSynchronize", self._stream)
            for back, taken in reversed(self._taken):
                with suppress(DeviceLostError):
                    self.call(back, taken)
        self._taken = []

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function of the CUDA runtime; return what it gives besides its status.

        Raises:
            BackendError: there is not enough memory.
            DeviceLostError: anything else went wrong.
        """
        status, *given = getattr(self._cuda, function)(*arguments)
        if status == self._cuda.cudaError_t.cudaErrorMemoryAllocation:
            problem = f"too little free memory ({function})"
            remedy = "Use a smaller --batch, or close other programs."
            raise BackendError(problem, remedy, about=self.gpu.name)
        if status != self._cuda.cudaError_t.cudaSuccess:
            raise DeviceLostError(
                f"failed ({function}: {status.name})",
                "Check it with nvidia-smi, then give the same command again.",
                about=self.gpu.name,
            )
        return given

    def _take(self, function: str, *arguments: Any, back: str) -> Any:
        (taken,) = self.call(function, *arguments)
        self._taken.append((back, taken))
        return taken


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
