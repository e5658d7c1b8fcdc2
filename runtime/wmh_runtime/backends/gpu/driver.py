"""Which library drives the GPUs here."""

from __future__ import annotations

from importlib.util import find_spec

from wmh_runtime.backends.gpu.cuda_python import CudaDevice
from wmh_runtime.backends.gpu.device import Device, Gpu
from wmh_runtime.backends.gpu.pycuda import PyCudaDevice


def device_type() -> type[Device]:
    """Return PyCUDA's where it is installed, which is nobody's accident, else cuda-bindings'."""
    return PyCudaDevice if find_spec("pycuda") is not None else CudaDevice


def find_gpus() -> list[Gpu]:
    """Ask the driver which GPUs there are, at least one.

    Raises:
        BackendError: nothing that asks it is installed, or there is no GPU or no driver.
    """
    return device_type().gpus()
