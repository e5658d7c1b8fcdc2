"""Compile a bundle's FP16 graphs to engines for particular GPUs, and add them to the bundle.

TensorRT-RTX needs no GPU to build. One of its engines serves several GPU models and is compiled
further on the user's GPU. TensorRT builds for the GPU of this machine.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Final

from wmh_export.engines.compiler import RTX_TARGETS, compile_graph
from wmh_runtime.backends.gpu.device import Gpu
from wmh_runtime.backends.gpu.driver import find_gpus
from wmh_runtime.backends.tensorrt_library import TensorRtLibrary
from wmh_runtime.bundle.bundle import Bundle, load_bundle, write_manifest
from wmh_runtime.bundle.manifest import BatchProfile, Engine, Graph
from wmh_runtime.errors import ExportError
from wmh_runtime.files.atomic import remove, write_bytes_atomically
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.text import count_noun
from wmh_runtime.tta import VIEW_COUNTS, VIEWS

ENGINES_FOLDER = "engines"
_PRECISION: Final = "fp16"
_HASH_LENGTH = 8  # in file names, so that a new engine never overwrites one that is in use


def build_engines(
    bundle: Bundle,
    tensorrt: TensorRtLibrary,
    targets: Sequence[str],
    profile: BatchProfile,
    on_step: Callable[[str], None],
) -> list[Engine]:
    """Compile a bundle's FP16 graphs and add the engines to it; remove engines they replace.

    Args:
        bundle: with FP16 graphs.
        tensorrt: library that compiles.
        targets: TensorRT-RTX: compute capabilities, such as sm89. TensorRT: empty, because it
            builds for the GPU of this machine.
        profile: batch sizes, in slices of eight views. The engine of one view gets eight times
            the optimal and maximum batch size.
        on_step: called with a description of each step.

    Raises:
        BundleError: the bundle has no FP16 graphs.
        BackendError: TensorRT finds no GPU.
        ExportError: a target is missing or unknown, or the library rejects the graph.
        InputError: the bundle cannot be written to.
    """
    gpu = find_gpus()[0] if tensorrt.kind == "tensorrt" else None
    targets = _validate_targets(targets, gpu)
    graphs = {views: bundle.graph(views=views, precision=_PRECISION) for views in VIEW_COUNTS}
    make_writable_folder(bundle.folder / ENGINES_FOLDER)
    compiled = []
    for views, graph in graphs.items():
        view_profile = profile if views > 1 else _scale_profile(profile, len(VIEWS))
        on_step(
            f"{count_noun(views, 'view')}: building for {gpu.name if gpu else ', '.join(targets)}"
        )
        compiled.append(_compile(bundle, graph, tensorrt, view_profile, targets, gpu))
    for engine, plan in compiled:  # only after all engines were built
        write_bytes_atomically(bundle.path_of(engine), plan)
    built = [engine for engine, _ in compiled]
    _update_manifest(bundle, built)
    return built


def _validate_targets(targets: Sequence[str], gpu: Gpu | None) -> list[str]:
    """Return the targets without duplicates, in the order of `RTX_TARGETS`."""
    if gpu is not None:
        if targets:
            raise ExportError(
                "TensorRT builds for the GPU of this machine", "Give no targets.", about="targets"
            )
        return [gpu.target]
    if not targets:
        advice = "Name the GPUs to build for: sm86 is RTX 30, sm89 RTX 40, sm120 RTX 50."
        raise ExportError("is missing", advice, about="targets")
    for target in targets:
        if target not in RTX_TARGETS:
            advice = f"TensorRT-RTX builds for: {', '.join(RTX_TARGETS)}."
            raise ExportError(f"there is no target {target}", advice, about="targets")
    return sorted(dict.fromkeys(targets), key=RTX_TARGETS.index)


def _compile(
    bundle: Bundle,
    graph: Graph,
    tensorrt: TensorRtLibrary,
    profile: BatchProfile,
    targets: list[str],
    gpu: Gpu | None,
) -> tuple[Engine, bytes]:
    path = bundle.path_of(graph)
    started = time.monotonic()
    input_shape = bundle.manifest.network_shape.input_shape
    compiled = compile_graph(tensorrt, path, profile, input_shape, targets=targets, gpu=gpu)
    seconds = time.monotonic() - started
    sha256 = hashlib.sha256(compiled.plan).hexdigest()
    name_parts = (
        f"{graph.views}-view",
        graph.precision,
        f"{tensorrt.kind}-{tensorrt.version}",
        "-".join(targets),
        sha256[:_HASH_LENGTH],
        "engine",
    )
    engine = Engine(
        path=f"{ENGINES_FOLDER}/{'.'.join(name_parts)}",
        sha256=sha256,
        kind=tensorrt.kind,
        version=tensorrt.version,
        targets=targets,
        gpu=gpu.name if gpu else "",
        network_sha256=bundle.network_sha256(graph),
        precision=graph.precision,
        views=graph.views,
        profile=profile,
        build_seconds=round(seconds, 1),
        fused_attention_layers=compiled.fused_attention_layers,
        attention_layers=compiled.attention_layers,
    )
    return engine, compiled.plan


def _scale_profile(profile: BatchProfile, factor: int) -> BatchProfile:
    """Multiply the optimal and maximum batch size; keep the minimum."""
    return BatchProfile(min=profile.min, opt=factor * profile.opt, max=factor * profile.max)


def _update_manifest(bundle: Bundle, built: list[Engine]) -> None:
    """Add the engines to the manifest, then delete the files of the engines they replace."""
    manifest = load_bundle(bundle.folder).manifest  # read again: it may have changed meanwhile
    replaced = [old for old in manifest.engines if any(_replaces(new, old) for new in built)]
    kept = [old for old in manifest.engines if old not in replaced]
    updated = manifest.model_copy(update={"engines": [*kept, *built]})
    write_manifest(bundle.folder, updated)
    paths = {engine.path for engine in built}
    for old in replaced:
        if old.path not in paths:
            remove(bundle.path_of(old))


def _replaces(new: Engine, old: Engine) -> bool:
    """Return whether a new engine is for the same library and views, and all GPUs of an old one."""
    same = (new.kind, new.version, new.views, new.gpu) == (
        old.kind,
        old.version,
        old.views,
        old.gpu,
    )
    return same and set(old.targets) <= set(new.targets)
