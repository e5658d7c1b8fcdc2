"""Engines: a bundle's FP16 graphs compiled for particular GPUs, and put into it.

TensorRT-RTX needs no GPU to build and puts several targets into one file; it finishes compiling on
the user's GPU. TensorRT builds for the GPU at hand.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import onnx

from wmh_export.engines.compiler import TARGETS, compile_graph
from wmh_runtime.backends.gpu.device import Gpu
from wmh_runtime.backends.gpu.driver import find_gpus
from wmh_runtime.backends.tensorrt_library import TensorRtLibrary
from wmh_runtime.bundle.bundle import MANIFEST_NAME, Bundle, open_bundle
from wmh_runtime.bundle.manifest import BatchProfile, Engine, Graph
from wmh_runtime.errors import ExportError
from wmh_runtime.files.atomic import remove, write_bytes_atomically, write_text_atomically
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.text import count_noun
from wmh_runtime.tta import ALL_VIEWS, VIEWS

ENGINES = "engines"
_PRECISION: Final = "fp16"
_HASH_LETTERS = 8  # in names, so that a new engine never replaces one that is in use


def build_engines(
    bundle: Bundle,
    toolkit: TensorRtLibrary,
    targets: Sequence[str],
    slices: BatchProfile,
    on_step: Callable[[str], None],
) -> list[Engine]:
    """Compile a bundle's FP16 graphs and put the engines into it, in place of those they supersede.

    Args:
        bundle: with FP16 graphs.
        toolkit: to build with.
        targets: compute capabilities such as sm89, of RTX; none for TensorRT, which builds for
            the GPU at hand.
        slices: how many at a time; the engine of one view takes eight times as many.
        on_step: is told each step.

    Raises:
        BundleError: the bundle has no FP16 graphs.
        ExportError: a target does not exist, there is no GPU to build for, or the library refuses.
        InputError: the bundle cannot be written to.
    """
    gpu = find_gpus()[0] if toolkit.kind == "tensorrt" else None
    targets = _checked_targets(targets, gpu)
    graphs = {views: bundle.graph(views=views, precision=_PRECISION) for views in ALL_VIEWS}
    make_writable_folder(bundle.folder / ENGINES)
    compiled = []
    for views, graph in graphs.items():
        profile = slices if views > 1 else _times(slices, len(VIEWS))
        on_step(
            f"{count_noun(views, 'view')}: building for {gpu.name if gpu else ', '.join(targets)}"
        )
        compiled.append(_compile(bundle, graph, toolkit, profile, targets, gpu))
    for engine, plan in compiled:  # not before all are there
        write_bytes_atomically(bundle.path_of(engine), plan)
    built = [engine for engine, _ in compiled]
    _put_into(bundle, built)
    return built


def _checked_targets(targets: Sequence[str], gpu: Gpu | None) -> list[str]:
    if gpu is not None:
        if targets:
            raise ExportError(
                "TensorRT builds for the GPU at hand", "Leave --targets out.", about="--targets"
            )
        return [gpu.target]
    if not targets:
        advice = "Name the GPUs it is for: sm86 is RTX 30, sm89 RTX 40, sm120 RTX 50."
        raise ExportError("is missing", advice, about="--targets")
    for target in targets:
        if target not in TARGETS:
            advice = f"TensorRT-RTX builds for: {', '.join(TARGETS)}."
            raise ExportError(f"there is no target {target}", advice, about="--targets")
    return sorted(dict.fromkeys(targets), key=TARGETS.index)


def _compile(
    bundle: Bundle,
    graph: Graph,
    toolkit: TensorRtLibrary,
    profile: BatchProfile,
    targets: list[str],
    gpu: Gpu | None,
) -> tuple[Engine, bytes]:
    path = bundle.path_of(graph)
    started = time.monotonic()
    compiled = compile_graph(
        toolkit, path, profile, bundle.manifest.network_shape.slice_in, targets=targets, gpu=gpu
    )
    seconds = time.monotonic() - started
    sha256 = hashlib.sha256(compiled.plan).hexdigest()
    parts = (
        f"{graph.views}-view",
        graph.precision,
        f"{toolkit.kind}-{toolkit.version}",
        "-".join(targets),
        sha256[:_HASH_LETTERS],
        "engine",
    )
    engine = Engine(
        path=f"{ENGINES}/{'.'.join(parts)}",
        sha256=sha256,
        kind=toolkit.kind,
        version=toolkit.version,
        targets=targets,
        gpu=gpu.name if gpu else "",
        network_sha256=bundle.network_sha256(graph),
        precision=graph.precision,
        views=graph.views,
        profile=profile,
        build_seconds=round(seconds, 1),
        fused_attention=compiled.fused_attention,
        attention_layers=_attention_layers(path),
    )
    return engine, compiled.plan


def _attention_layers(graph: Path) -> int:
    """Count them: each has one softmax, and nothing else has."""
    nodes = onnx.load(graph, load_external_data=False).graph.node
    return sum(node.op_type == "Softmax" for node in nodes)


def _times(profile: BatchProfile, factor: int) -> BatchProfile:
    return BatchProfile(least=profile.least, best=factor * profile.best, most=factor * profile.most)


def _put_into(bundle: Bundle, built: list[Engine]) -> None:
    """Name the engines in the manifest, and only then remove those they supersede."""
    manifest = open_bundle(bundle.folder).manifest  # as it is now, hours after it was opened
    superseded = [old for old in manifest.engines if any(_serves(new, old) for new in built)]
    kept = [old for old in manifest.engines if old not in superseded]
    changed = manifest.model_copy(update={"engines": [*kept, *built]})
    write_text_atomically(bundle.folder / MANIFEST_NAME, changed.model_dump_json(indent=2) + "\n")
    paths = {engine.path for engine in built}
    for old in superseded:
        if old.path not in paths:
            remove(bundle.path_of(old))


def _serves(new: Engine, old: Engine) -> bool:
    """Say whether a new engine is for all GPUs that an old one is for."""
    same = (new.kind, new.version, new.views, new.gpu) == (
        old.kind,
        old.version,
        old.views,
        old.gpu,
    )
    return same and set(old.targets) <= set(new.targets)
