"""Which backends there are, and which of them are installed."""

from __future__ import annotations

from importlib.util import find_spec

from wmh_runtime.backends.graph import GraphBackend
from wmh_runtime.backends.onnxruntime import OnnxRuntimeBackend
from wmh_runtime.backends.openvino import OpenVinoBackend
from wmh_runtime.errors import InputError

_BACKENDS: tuple[type[GraphBackend], ...] = (OnnxRuntimeBackend, OpenVinoBackend)
_BY_NAME = {backend.name: backend for backend in _BACKENDS}


def backend_named(name: str) -> type[GraphBackend]:
    """Return an installed backend.

    Raises:
        InputError: there is none of this name, or its library is not installed.
    """
    name = name.lower()
    if name not in _BY_NAME:
        advice = f"Choose from: {', '.join(_BY_NAME)}."
        raise InputError(f"there is no backend {name}", advice, about="--backend")
    backend = _BY_NAME[name]
    if not _is_installed(backend):
        raise InputError(f"{name} is not installed", backend.install_advice(), about="--backend")
    return backend


def installed_backends() -> list[type[GraphBackend]]:
    """Return the backends whose library, named as they are, is installed."""
    return [backend for backend in _BACKENDS if _is_installed(backend)]


def _is_installed(backend: type[GraphBackend]) -> bool:
    return find_spec(backend.name) is not None
