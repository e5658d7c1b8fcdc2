"""Which library drives the GPUs here."""

from __future__ import annotations

from importlib.util import find_spec

from wmh_runtime.devices.base import Device, Gpu
from wmh_runtime.devices.cuda import CudaDevice
from wmh_runtime.devices.pycuda import PyCudaDevice


def device_type() -> type[Device]:
    """Return PyCUDA's where only that is installed, else cuda-bindings'."""
    has_only_pycuda = _is_installed("pycuda") and not _is_installed("cuda.bindings")
    return PyCudaDevice if has_only_pycuda else CudaDevice


def find_gpus() -> list[Gpu]:
    """Ask the driver which GPUs there are, at least one.

    Raises:
        BackendError: nothing that asks it is installed, or there is no GPU or no driver.
    """
    return device_type().gpus()


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent
        return False
