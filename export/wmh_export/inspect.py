"""Describe a bundle in lines of text. Reads only the manifest and the sizes of the files."""

from __future__ import annotations

from collections.abc import Iterator

from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.bundle.manifest import Engine, File
from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.precision import GraphPrecision
from wmh_runtime.preprocessing.slices.planes import planes_text
from wmh_runtime.tta import VIEWS


def describe_bundle(bundle: Bundle) -> Iterator[str]:
    """Yield the contents of a bundle, line by line."""
    manifest = bundle.manifest
    preprocessing = manifest.preprocessing
    yield f"{manifest.name}, model {manifest.model_id}, license {manifest.license}"
    yield from (f"warning: {warning}" for warning in manifest.warnings)
    yield (
        f"{manifest.input_text} → {', '.join(manifest.thresholds)},"
        f" {planes_text(preprocessing.planes)}"
        f" of {preprocessing.size_px} × {preprocessing.size_px} pixels"
        f" of {preprocessing.pixel_size_mm:g} mm"
    )
    for output in manifest.outputs:
        yield (
            f"{output.name}: probability threshold {output.threshold:g}, minimum lesion size"
            f" {output.min_lesion_mm3:g} mm³"
        )
    for weights in manifest.weights:
        yield f"{weights.path}: {_size_text(bundle, weights)}"
    for graph in manifest.graphs:
        only = ", for onnxruntime-cuda-graph only" if graph.provider else ""
        yield f"{graph.path}: {_size_text(bundle, graph)}{only}"
        for parity in graph.parity:
            yield f"    {_describe_parity(parity, graph.precision)}"
    if manifest.quantization is not None:
        quantization = manifest.quantization
        float32_groups = ", ".join(quantization.float32_groups) or "nothing"
        yield f"int8 by {quantization.quantizer}; in float32: {float32_groups}"
    for reason in manifest.skipped_precisions:
        yield f"not included: {reason}"
    for engine in manifest.engines:
        yield describe_engine(bundle, engine)
    paths = [path for file in manifest.files if (path := bundle.path_of(file)).is_file()]
    yield f"{sum(path.stat().st_size for path in paths) / 1e6:.1f} MB in total"


def describe_engine(bundle: Bundle, engine: Engine) -> str:
    """Describe an engine in one line."""
    runs_per_slice = len(VIEWS) // engine.views  # a one-view engine runs each view separately
    min_slices, max_slices = (
        max(1, count // runs_per_slice) for count in (engine.profile.min, engine.profile.max)
    )
    return (
        f"{engine.path}: {_size_text(bundle, engine)}, {engine.kind} {engine.version} for"
        f" {', '.join(engine.targets)}, {min_slices} to {max_slices} slices of eight views,"
        f" attention fused in {engine.fused_attention_layers} of {engine.attention_layers} layers,"
        f" built in {engine.build_seconds:g} s"
    )


def _describe_parity(parity: Parity, graph_precision: GraphPrecision) -> str:
    executed_in = "" if parity.precision == graph_precision else f" in {parity.precision}"
    emulated = ", emulated" if parity.emulated else ""
    violation = ", BEYOND ITS TOLERANCE" if parity.violation else ""
    return (
        f"{parity.backend}{executed_in}{emulated}, {parity.data}: mask Dice"
        f" {parity.mask_dice:.4f}, probability differs by at most"
        f" {parity.max_abs_difference:.1e}{violation}"
    )


def _size_text(bundle: Bundle, file: File) -> str:
    path = bundle.path_of(file)
    return f"{path.stat().st_size / 1e6:.1f} MB" if path.is_file() else "MISSING"
