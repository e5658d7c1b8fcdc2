"""Select the library that drives the GPUs of this machine."""

from __future__ import annotations

from importlib.util import find_spec

from wmh_runtime.backends.gpu.cuda_python import CudaDevice
from wmh_runtime.backends.gpu.device import Device, Gpu
from wmh_runtime.backends.gpu.pycuda import PyCudaDevice


def device_type() -> type[Device]:
    """Return the device class of PyCUDA if PyCUDA is installed, else that of cuda-bindings."""
    return PyCudaDevice if find_spec("pycuda") is not None else CudaDevice


def find_gpus() -> list[Gpu]:
    """Return all GPUs that the driver reports, at least one.

    Raises:
        BackendError: neither library is installed, or there is no GPU or no driver.
    """
    return device_type().list_gpus()
