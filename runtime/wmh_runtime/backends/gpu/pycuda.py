"""A GPU driven by PyCUDA, for machines that have PyCUDA already. PyCUDA has no CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from wmh_runtime.backends.gpu.device import Device, Event, Gpu
from wmh_runtime.errors import BackendError, DeviceLostError, NoGpuError, NotInstalledError
from wmh_runtime.text import install_advice
from wmh_runtime.types import Floats


class PyCudaDevice(Device):
    """A GPU, selected by its index. It uses the primary context, as TensorRT does."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._cuda = _load_driver()
        self._allocations: list[Any] = []
        self._pinned: list[Any] = []
        with self.translate_errors():
            self._context = self._cuda.Device(index).retain_primary_context()
        with self.activate(), self.translate_errors():
            self._stream = self._cuda.Stream()
        self.stream = int(self._stream.handle)

    @classmethod
    def list_gpus(cls) -> list[Gpu]:
        """Return the GPUs that the driver reports."""
        cuda = _load_driver()
        try:
            devices = [cuda.Device(index) for index in range(cuda.Device.count())]
        except cuda.Error as error:
            advice = "Check the driver with nvidia-smi."
            raise NoGpuError(f"no GPU can be used ({error})", advice) from error
        if not devices:
            raise NoGpuError("there is no GPU", "Check the driver with nvidia-smi.")
        gpus = []
        for device in devices:
            major, minor = device.compute_capability()
            gpus.append(Gpu(device.name(), f"sm{major}{minor}"))
        return gpus

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Make this the current GPU of the calling thread."""
        with self.translate_errors():
            self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def allocate_pinned(self, shape: tuple[int, ...]) -> Floats:
        """Allocate page-locked host memory."""
        with self.translate_errors():
            array: Floats = self._cuda.pagelocked_zeros(shape, np.float32)
        self._pinned.append(array)
        return array

    def allocate(self, size_bytes: int) -> int:
        """Allocate GPU memory."""
        with self.translate_errors():
            allocation = self._cuda.mem_alloc(size_bytes)
        self._allocations.append(allocation)
        return int(allocation)

    def enqueue_copy_to_device(self, address: int, source: Floats) -> None:
        """Enqueue a copy to the device."""
        with self.translate_errors():
            self._cuda.memcpy_htod_async(address, source, self._stream)

    def enqueue_copy_to_host(self, target: Floats, address: int) -> None:
        """Enqueue a copy from the device."""
        with self.translate_errors():
            self._cuda.memcpy_dtoh_async(target, address, self._stream)

    def free_bytes(self) -> int:
        """Return the free GPU memory in bytes."""
        with self.translate_errors():
            free, _total = self._cuda.mem_get_info()
        return int(free)

    def create_event(self, *, timed: bool = False) -> Event:
        """Create an event. A thread that waits for it uses no CPU time."""
        options = self._cuda.event_flags
        flags = options.BLOCKING_SYNC | (0 if timed else options.DISABLE_TIMING)
        with self.translate_errors():
            event = self._cuda.Event(flags)
        return _PyCudaEvent(self, event, self._stream)

    def close(self) -> None:
        """Free everything. Errors of a device that failed are ignored."""
        with suppress(DeviceLostError), self.activate():
            with suppress(DeviceLostError), self.translate_errors():
                self._stream.synchronize()
            for allocation in (*self._allocations, *(array.base for array in self._pinned)):
                with suppress(DeviceLostError), self.translate_errors():
                    allocation.free()
        with suppress(DeviceLostError), self.translate_errors():
            self._context.detach()

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Raise PyCUDA's errors as errors of this package."""
        try:
            yield
        except self._cuda.MemoryError as error:
            problem = f"too little free memory ({error})"
            remedy = "Use a smaller batch, or close other programs."
            raise BackendError(problem, remedy, about=self.gpu.name) from error
        except self._cuda.Error as error:
            raise DeviceLostError(
                f"failed ({error})",
                "Check it with nvidia-smi, then run the same command again.",
                about=self.gpu.name,
            ) from error


class _PyCudaEvent(Event):
    def __init__(self, device: PyCudaDevice, event: Any, stream: Any) -> None:
        self._device, self._event, self._stream = device, event, stream

    def record(self) -> None:
        with self._device.translate_errors():
            self._event.record(self._stream)

    def wait(self) -> None:
        with self._device.translate_errors():
            self._event.synchronize()

    def seconds_since(self, earlier: Event) -> float:
        assert isinstance(earlier, _PyCudaEvent)
        with self._device.translate_errors():
            ms = self._event.time_since(earlier._event)
        return float(ms) / 1e3


def _load_driver() -> Any:
    """Import PyCUDA and initialize the CUDA driver."""
    try:
        import pycuda.driver as cuda
    except ImportError as error:
        raise NotInstalledError("PyCUDA is not installed", install_advice("pycuda")) from error
    try:
        cuda.init()
    except cuda.Error as error:
        advice = "Check the driver with nvidia-smi."
        raise NoGpuError(f"no GPU can be used ({error})", advice) from error
    return cuda
