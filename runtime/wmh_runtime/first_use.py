"""A bundle meets a machine: what is not float32 is compared before it is believed.

Engines and low precisions can be silently wrong on one device and right on another. So whatever
executes a bundle in another precision than float32 is asked, once on each machine, what the
trained network was asked, and refused where it is beyond the precision's bound.
"""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

from wmh_runtime.atomic import write_text_atomically
from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle import Bundle
from wmh_runtime.caches import cache_folder
from wmh_runtime.errors import BackendError
from wmh_runtime.folders import make_folder
from wmh_runtime.parity import Parity, measure_parity
from wmh_runtime.types import Views


def compare_once(bundle: Bundle, backend: Backend, views: Views) -> Parity | None:
    """Compare a backend with the trained network, where that was not done before on this machine.

    Args:
        bundle: verified.
        backend: open, executing a graph or an engine of the bundle.
        views: that it looks at.

    Returns:
        What was measured; None where nothing had to be, float32 among it.

    Raises:
        BackendError: it is beyond its precision's bound.
    """
    if backend.precision == "fp32":
        return None
    mark = _mark(bundle, backend, views)
    if mark.exists():
        return None
    parity = measure_parity(bundle.answers(), backend, views, bundle.manifest.thresholds)
    if parity.shortfall:
        raise BackendError(
            f"computes another result on this machine than the trained network: {parity.shortfall}",
            "Use another --precision or --backend.",
            about=f"{backend.precision} on {backend.description}",
        )
    make_folder(mark.parent)
    write_text_atomically(mark, parity.model_dump_json() + "\n")
    return parity


def _mark(bundle: Bundle, backend: Backend, views: Views) -> Path:
    """Return the file that says that it was done: of this model, backend, device and machine."""
    what = (
        bundle.manifest.model_id,
        backend.description,
        backend.precision,
        str(views),
        platform.node(),  # the folder may be shared by several machines
    )
    identity = hashlib.sha256("\n".join(what).encode()).hexdigest()[:16]
    return cache_folder() / "compared" / f"{identity}.json"
