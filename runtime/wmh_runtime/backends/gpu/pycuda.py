"""A GPU driven by PyCUDA, for those who have it already. It has no CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from wmh_runtime.backends.gpu.device import Device, Event, Gpu
from wmh_runtime.errors import BackendError, DeviceLostError, NoGpuError, NotInstalledError
from wmh_runtime.types import Floats


class PyCudaDevice(Device):
    """A GPU by its number, in the context that TensorRT shares (the primary one)."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._cuda = _driver()
        self._memory: list[Any] = []
        self._pinned: list[Any] = []
        with self.told():
            self._context = self._cuda.Device(number).retain_primary_context()
        with self.current(), self.told():
            self._stream = self._cuda.Stream()
        self.stream = int(self._stream.handle)

    @classmethod
    def gpus(cls) -> list[Gpu]:
        """Ask the driver."""
        cuda = _driver()
        try:
            devices = [cuda.Device(number) for number in range(cuda.Device.count())]
        except cuda.Error as error:
            advice = "Check the driver with nvidia-smi."
            raise NoGpuError(f"no GPU can be used ({error})", advice) from error
        if not devices:
            raise NoGpuError("there is no GPU", "Check the driver with nvidia-smi.")
        capability = "{}{}".format
        return [Gpu(one.name(), f"sm{capability(*one.compute_capability())}") for one in devices]

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make it the device of the calling thread, for as long."""
        with self.told():
            self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def pinned(self, shape: tuple[int, ...]) -> Floats:
        """Take page-locked host memory."""
        with self.told():
            array: Floats = self._cuda.pagelocked_zeros(shape, np.float32)
        self._pinned.append(array)
        return array

    def memory(self, size_bytes: int) -> int:
        """Take device memory."""
        with self.told():
            taken = self._cuda.mem_alloc(size_bytes)
        self._memory.append(taken)
        return int(taken)

    def enqueue_copy_in(self, to: int, source: Floats) -> None:
        """Enqueue a copy to the device."""
        with self.told():
            self._cuda.memcpy_htod_async(to, source, self._stream)

    def enqueue_copy_out(self, to: Floats, source: int) -> None:
        """Enqueue a copy from the device."""
        with self.told():
            self._cuda.memcpy_dtoh_async(to, source, self._stream)

    def free_bytes(self) -> int:
        """Ask the driver."""
        with self.told():
            free, _total = self._cuda.mem_get_info()
        return int(free)

    def event(self, *, timed: bool = False) -> Event:
        """Make an event, for which a thread waits without keeping a processor busy."""
        known = self._cuda.event_flags
        flags = known.BLOCKING_SYNC | (0 if timed else known.DISABLE_TIMING)
        with self.told():
            event = self._cuda.Event(flags)
        return _PyCudaEvent(self, event, self._stream)

    def close(self) -> None:
        """Give everything back; a device that is gone takes nothing."""
        with suppress(DeviceLostError), self.current():
            with suppress(DeviceLostError), self.told():
                self._stream.synchronize()
            for taken in (*self._memory, *(array.base for array in self._pinned)):
                with suppress(DeviceLostError), self.told():
                    taken.free()
        with suppress(DeviceLostError), self.told():
            self._context.detach()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell PyCUDA's errors as ours."""
        try:
            yield
        except self._cuda.MemoryError as error:
            problem = f"too little free memory ({error})"
            raise BackendError(
                problem, "Use a smaller --batch, or close other programs.", about=self.gpu.name
            ) from error
        except self._cuda.Error as error:
            raise DeviceLostError(
                f"failed ({error})",
                "Check it with nvidia-smi, then give the same command again.",
                about=self.gpu.name,
            ) from error


class _PyCudaEvent(Event):
    def __init__(self, device: PyCudaDevice, event: Any, stream: Any) -> None:
        self._device, self._event, self._stream = device, event, stream

    def record(self) -> None:
        with self._device.told():
            self._event.record(self._stream)

    def wait(self) -> None:
        with self._device.told():
            self._event.synchronize()

    def seconds_since(self, earlier: Event) -> float:
        assert isinstance(earlier, _PyCudaEvent)
        with self._device.told():
            ms = self._event.time_since(earlier._event)
        return float(ms) / 1e3


def _driver() -> Any:
    """Import PyCUDA and have it look for the driver."""
    try:
        import pycuda.driver as cuda
    except ImportError as error:
        advice = "Run in the project's folder: pip install '.[pycuda]'"
        raise NotInstalledError("is not installed", advice, about="pycuda") from error
    try:
        cuda.init()
    except cuda.Error as error:
        advice = "Check the driver with nvidia-smi."
        raise NoGpuError(f"no GPU can be used ({error})", advice) from error
    return cuda
