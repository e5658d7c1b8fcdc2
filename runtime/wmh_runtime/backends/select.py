"""Which backends there are, and which of them are installed."""

from __future__ import annotations

from importlib.util import find_spec

from wmh_runtime.backends.graph import ProcessorBackend
from wmh_runtime.backends.onnxruntime import OnnxRuntimeBackend
from wmh_runtime.backends.onnxruntime_gpu import (
    CudaProviderBackend,
    OnnxRuntimeGpuBackend,
    TensorRtProviderBackend,
)
from wmh_runtime.backends.openvino import OpenVinoBackend
from wmh_runtime.backends.toolkit import MODULES
from wmh_runtime.errors import InputError

PROCESSOR_BACKENDS: tuple[type[ProcessorBackend], ...] = (OnnxRuntimeBackend, OpenVinoBackend)
GPU_BACKENDS: tuple[type[OnnxRuntimeGpuBackend], ...] = (
    CudaProviderBackend,
    TensorRtProviderBackend,
)
ENGINE_KINDS = tuple(MODULES)


def backend_named(name: str) -> type[ProcessorBackend]:
    """Return an installed backend of processors.

    Raises:
        InputError: there is none of this name, or its library is not installed.
    """
    by_name = {backend.name: backend for backend in PROCESSOR_BACKENDS}
    backend = by_name.get(name.lower())
    if backend is None:
        advice = f"Choose from: {', '.join(by_name)}."
        raise InputError(f"there is no backend {name.lower()}", advice, about="--backend")
    if not _is_installed(backend):
        raise InputError(
            f"{backend.name} is not installed", backend.install_advice(), about="--backend"
        )
    return backend


def installed_backends() -> list[type[ProcessorBackend]]:
    """Return the backends of processors whose library, named as they are, is installed."""
    return [backend for backend in PROCESSOR_BACKENDS if _is_installed(backend)]


def _is_installed(backend: type[ProcessorBackend]) -> bool:
    return find_spec(backend.name) is not None
