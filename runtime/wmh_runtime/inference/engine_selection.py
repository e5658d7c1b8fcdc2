"""Choose the engine of a bundle that fits a GPU and the installed TensorRT."""

from __future__ import annotations

import shlex

from wmh_runtime.backends.gpu.device import Gpu
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.bundle.manifest import Engine
from wmh_runtime.errors import BundleError
from wmh_runtime.tta import VIEWS, Views
from wmh_runtime.types import EngineKind

_SLICES_BY_DEFAULT = 4  # that `wmh-export engines` makes an engine for, at most


def select_engine(
    bundle: Bundle, *, kind: EngineKind, version: str, gpu: Gpu, views: Views, batch_size: int
) -> Engine:
    """Return the engine for a library and a GPU.

    Args:
        bundle: open.
        kind: of the library.
        version: of the library that is installed.
        gpu: to execute on.
        views: that it shall look at.
        batch_size: slices executed at a time.

    Raises:
        BundleError: the bundle has none, or only for others, or of a graph that is not its
            own; it says which command builds one. Or the engine's file was altered.
    """
    misfits = []
    for engine in reversed(bundle.manifest.engines):  # the newest first
        if (engine.kind, engine.views) != (kind, views):
            continue
        if misfit := _misfit(bundle, engine, version, gpu, batch_size):
            misfits.append(f"{engine.path} {misfit}")
        else:
            bundle.verify(engine)
            return engine
    problem = "; ".join(misfits) or f"has no {views}-view engine of {kind}"
    targets = f" --targets {gpu.target}" if kind == "rtx" else ""
    most = -(-batch_size // (len(VIEWS) // views))  # --slices counts those of eight views
    slices = f" --slices 1,{most},{most}" if most > _SLICES_BY_DEFAULT else ""
    command = (
        f"wmh-export engines {shlex.quote(str(bundle.folder))} --runtime {kind}{targets}{slices}"
    )
    raise BundleError(problem, f"Run: {command}", about=bundle.folder)


def _misfit(bundle: Bundle, engine: Engine, version: str, gpu: Gpu, batch_size: int) -> str:
    graph = bundle.graph(views=engine.views, precision=engine.precision)
    if engine.network_sha256 != bundle.network_sha256(graph):
        return "was built from another graph"
    if engine.version != version:
        return f"was built by version {engine.version}, {version} is installed"
    if gpu.target not in engine.targets:
        return f"was built for {', '.join(engine.targets)}, this GPU is {gpu.target}"
    if engine.gpu not in ("", gpu.name):
        return f"was built for {engine.gpu}, this GPU is {gpu.name}"
    if not engine.profile.least <= batch_size <= engine.profile.most:
        profile = f"{engine.profile.least} to {engine.profile.most}"
        return f"takes {profile} slices at a time, not {batch_size}"
    return ""
