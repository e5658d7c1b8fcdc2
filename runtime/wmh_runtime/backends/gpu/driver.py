"""Select the library that drives the GPUs of this machine."""

from __future__ import annotations

from importlib.util import find_spec

from wmh_runtime.backends.gpu.cuda_python import CudaDevice
from wmh_runtime.backends.gpu.device import Device, Gpu
from wmh_runtime.backends.gpu.pycuda import PyCudaDevice


def device_type() -> type[Device]:
    """Return the device class of cuda-bindings; that of PyCUDA if PyCUDA alone is installed.

    PyCUDA has no CUDA graphs, and other programs may have installed it.
    """
    only_pycuda = _is_installed("pycuda") and not _is_installed("cuda.bindings")
    return PyCudaDevice if only_pycuda else CudaDevice


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that would contain it
        return False


def find_gpus() -> list[Gpu]:
    """Return all GPUs that the driver reports, at least one.

    Raises:
        BackendError: neither library is installed, or there is no GPU or no driver.
    """
    return device_type().list_gpus()
