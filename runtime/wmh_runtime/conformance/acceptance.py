"""Acceptance check: compare a backend with the reference outputs before its first use.

Engines and low precisions can be wrong on one device and right on another, without any error. So
each backend is compared once per machine, and rejected if it violates the tolerance of its
precision. ONNX Runtime in float32 is not compared: this was done when the bundle was made.
"""

from __future__ import annotations

import hashlib
import platform
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from wmh_runtime.backends.base import Backend
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.bundle.manifest import File
from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.conformance.measure import measure_parity
from wmh_runtime.conformance.reference_outputs import load_reference_outputs
from wmh_runtime.errors import BackendError
from wmh_runtime.files.user_cache import read_cache, user_cache_folder, write_cache
from wmh_runtime.machine import cpu_name
from wmh_runtime.tta import Views


def check_acceptance(
    bundle: Bundle, backend: Backend, executed: File, views: Views
) -> Parity | None:
    """Compare a backend with the reference outputs, unless this machine did so before.

    Args:
        bundle: an open bundle.
        backend: an open backend.
        executed: the graph or engine of the bundle that the backend executes.
        views: number of views that the backend averages.

    Returns:
        The measurement. None: the comparison was not needed.

    Raises:
        BackendError: the backend violates the tolerance, here or where the bundle was made.
    """
    for recorded in (parity for graph in bundle.manifest.graphs for parity in graph.parity):
        if recorded.key == (backend.name, backend.precision, views):
            _require_tolerance(recorded, "where the bundle was made")
    if (backend.name, backend.precision) == (OnnxRuntimeBackend.name, "fp32"):
        return None
    path = _cache_path(bundle, backend, executed, views)
    if _was_accepted(path):
        return None
    parity = measure_parity(load_reference_outputs(bundle), backend, views)
    _require_tolerance(parity, "on this machine")
    content = f"{parity.model_dump_json()}\n".encode()
    write_cache(path, content, "the result of the acceptance check cannot be stored")
    return parity


def _require_tolerance(parity: Parity, where: str) -> None:
    if parity.violation:
        raise BackendError(
            f"output differs from the trained network {where}: {parity.violation}",
            "Use another precision or backend.",
            about=f"{parity.precision} on {parity.backend}, {parity.data}",
        )


def _was_accepted(path: Path) -> bool:
    """Return whether a cache file holds a measurement within the current tolerance."""
    with suppress(ValidationError):
        return not Parity.model_validate_json(read_cache(path)).violation
    return False


def _cache_path(bundle: Bundle, backend: Backend, executed: File, views: Views) -> Path:
    """Return the cache file for this bundle, backend, graph or engine, and machine."""
    key = (
        bundle.manifest.model_id,
        executed.sha256,
        backend.description,
        backend.precision,
        str(views),
        str(backend.batch_size),  # GPU libraries choose kernels by the batch size
        cpu_name(),
        platform.node(),  # several machines may share the cache folder
    )
    identity = hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
    return user_cache_folder() / "compared" / f"{identity}.json"
