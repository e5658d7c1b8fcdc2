"""Select the engine of a bundle that fits a GPU and the installed TensorRT."""

from __future__ import annotations

from wmh_runtime.backends.gpu.device import Gpu
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.bundle.manifest import Engine
from wmh_runtime.errors import BundleError
from wmh_runtime.tta import VIEWS, Views
from wmh_runtime.types import EngineKind

_DEFAULT_MAX_SLICES = 4  # of engines that `wmh-export engines` builds


def select_engine(
    bundle: Bundle, *, kind: EngineKind, version: str, gpu: Gpu, views: Views, batch_size: int
) -> Engine:
    """Return the engine for a library and a GPU, the newest one if there are several.

    Args:
        bundle: open.
        kind: of the library.
        version: of the installed library.
        gpu: that runs it.
        views: of the graph.
        batch_size: slices per batch.

    Raises:
        BundleError: the bundle has no engine that fits; the message says how to build one. Or the
            engine's file was altered.
    """
    reasons = []
    for engine in reversed(bundle.manifest.engines):
        if (engine.kind, engine.views) != (kind, views):
            continue
        if reason := _mismatch(bundle, engine, version, gpu, batch_size):
            reasons.append(f"{engine.path} {reason}")
        else:
            bundle.verify(engine)
            return engine
    problem = "; ".join(reasons) or f"has no {views}-view engine of {kind}"
    settings = [f"runtime {kind}"]
    if kind == "rtx":
        settings.append(f"targets {gpu.target}")
    max_slices = -(-batch_size // (len(VIEWS) // views))  # wmh-export counts those of eight views
    if max_slices > _DEFAULT_MAX_SLICES:
        settings.append(f"slices 1,{max_slices},{max_slices}")
    advice = f"Build an engine with wmh-export engines: {', '.join(settings)}."
    raise BundleError(problem, advice, about=bundle.folder)


def _mismatch(bundle: Bundle, engine: Engine, version: str, gpu: Gpu, batch_size: int) -> str:
    """Say why an engine cannot be used; empty if it can."""
    graph = bundle.graph(views=engine.views, precision=engine.precision)
    if engine.network_sha256 != bundle.network_sha256(graph):
        return "was built from another graph"
    if engine.version != version:
        return f"was built by version {engine.version}, {version} is installed"
    if gpu.target not in engine.targets:
        return f"was built for {', '.join(engine.targets)}, this GPU is {gpu.target}"
    if engine.gpu not in ("", gpu.name):
        return f"was built for {engine.gpu}, this GPU is {gpu.name}"
    smallest, largest = engine.profile.min, engine.profile.max
    if not smallest <= batch_size <= largest:
        return f"takes {smallest} to {largest} slices per batch, not {batch_size}"
    return ""
