"""A bundle meets a machine: what executes it is compared before it is believed.

Engines and low precisions can be silently wrong on one device and right on another. So whatever
executes a bundle is asked, once on each machine, what the trained network was asked, and refused
where it is beyond its precision's bound; but for ONNX Runtime in float32, by which every bundle
was proven when it was made. `wmh-infer` does so; a program that drives a `Segmenter` itself calls
`check_acceptance` before.
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
    """Compare a backend with the trained network, where that was not done before on this machine.

    Args:
        bundle: verified.
        backend: open.
        executed: the graph or the engine of the bundle that it executes.
        views: that it looks at.

    Returns:
        What was measured; None where nothing had to be.

    Raises:
        BackendError: it is beyond its precision's bound, here or where the bundle was made.
    """
    for known in (parity for graph in bundle.manifest.graphs for parity in graph.parity):
        if known.kind == (backend.name, backend.precision, views):
            _require_truth(known, "where the bundle was made")
    if (backend.name, backend.precision) == (OnnxRuntimeBackend.name, "fp32"):
        return None
    mark = _mark(bundle, backend, executed, views)
    if _says_so(mark):
        return None
    parity = measure_parity(load_reference_outputs(bundle), backend, views)
    _require_truth(parity, "on this machine")
    content = f"{parity.model_dump_json()}\n".encode()
    write_cache(mark, content, "the comparison with the network cannot be remembered")
    return parity


def _require_truth(parity: Parity, where: str) -> None:
    if parity.shortfall:
        raise BackendError(
            f"computes another result {where} than the trained network: {parity.shortfall}",
            "Use another --precision or --backend.",
            about=f"{parity.precision} on {parity.backend}, {parity.data}",
        )


def _says_so(mark: Path) -> bool:
    """Say whether a mark tells of a comparison within what the bound is today."""
    with suppress(ValidationError):
        return not Parity.model_validate_json(read_cache(mark)).shortfall
    return False


def _mark(bundle: Bundle, backend: Backend, executed: File, views: Views) -> Path:
    """Return the file that says that it was done, of what and where."""
    what = (
        bundle.manifest.model_id,
        executed.sha256,
        backend.description,
        backend.precision,
        str(views),
        str(backend.batch_size),  # a GPU's kernels are chosen by it
        cpu_name(),
        platform.node(),  # the folder may be shared by several machines
    )
    identity = hashlib.sha256("\n".join(what).encode()).hexdigest()[:16]
    return user_cache_folder() / "compared" / f"{identity}.json"
