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
    """Return a backend, installed or not.

    Raises:
        InputError: there is none of this name.
    """
    if name not in _BY_NAME:
        advice = f"Choose from: {', '.join(_BY_NAME)}."
        raise InputError(f"there is no backend {name}", advice, about="--backend")
    return _BY_NAME[name]


def installed_backends() -> list[type[GraphBackend]]:
    """Return the backends whose library, named as they are, is installed."""
    return [backend for backend in _BACKENDS if find_spec(backend.name) is not None]
