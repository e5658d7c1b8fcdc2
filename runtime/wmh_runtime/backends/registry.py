"""List all backends, and find the installed ones."""

from __future__ import annotations

from importlib.util import find_spec

from wmh_runtime.backends.onnx_graph import CpuBackend
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.backends.onnxruntime_gpu import (
    CudaGraphBackend,
    CudaProviderBackend,
    OnnxRuntimeGpuBackend,
    TensorRtProviderBackend,
)
from wmh_runtime.backends.openvino import OpenVinoBackend
from wmh_runtime.backends.tensorrt_library import MODULES
from wmh_runtime.errors import InputError
from wmh_runtime.types import GraphProvider

CPU_BACKENDS: tuple[type[CpuBackend], ...] = (OnnxRuntimeBackend, OpenVinoBackend)
GPU_BACKENDS: tuple[type[OnnxRuntimeGpuBackend], ...] = (
    CudaGraphBackend,
    CudaProviderBackend,
    TensorRtProviderBackend,
)
ENGINE_KINDS = tuple(MODULES)


def find_backend(name: str) -> type[CpuBackend]:
    """Return the installed CPU backend with this name, in upper or lower case.

    Raises:
        InputError: there is no CPU backend with this name.
        NotInstalledError: its library is not installed.
    """
    by_name = {backend.name: backend for backend in CPU_BACKENDS}
    backend = by_name.get(name.lower())
    if backend is None:
        advice = f"Choose from: {', '.join(by_name)}."
        raise InputError(f"there is no backend {name.lower()}", advice, about="backend")
    backend.require_installed()
    return backend


def graph_provider(name: str) -> GraphProvider:
    """Return which graphs of a bundle a backend executes, see `Graph.provider`."""
    return next((kind.graph_provider for kind in GPU_BACKENDS if kind.name == name), "")


def installed_backends() -> list[type[CpuBackend]]:
    """Return the CPU backends whose library is installed."""
    return [backend for backend in CPU_BACKENDS if find_spec(backend.library) is not None]
