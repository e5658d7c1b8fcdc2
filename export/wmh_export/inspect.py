"""What is in a bundle, in lines for people. Reads the manifest and the sizes of files, no more."""

from __future__ import annotations

from collections.abc import Iterator

from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.bundle.manifest import Engine, File
from wmh_runtime.tta import VIEWS


def describe(bundle: Bundle) -> Iterator[str]:
    """Yield what a bundle holds, line by line."""
    manifest = bundle.manifest
    preprocessing = manifest.preprocessing
    yield f"{manifest.name}, model {manifest.model_id}, license {manifest.license}"
    if manifest.warning:
        yield f"warning: {manifest.warning}"
    yield (
        f"{', '.join(manifest.channels)} → {', '.join(output.name for output in manifest.outputs)},"
        f" {preprocessing.plane} slices of {preprocessing.size_px} × {preprocessing.size_px} pixels"
        f" of {preprocessing.pixel_size_mm:g} mm"
    )
    for output in manifest.outputs:
        yield (
            f"{output.name}: probability from {output.threshold:g},"
            f" lesions from {output.min_lesion_mm3:g} mm³"
        )
    for weights in manifest.weights:
        yield f"{weights.path}: {_megabytes(bundle, weights)}"
    for graph in manifest.graphs:
        yield f"{graph.path}: {_megabytes(bundle, graph)}"
        for parity in graph.parity:
            executed_in = "" if parity.precision == graph.precision else f" in {parity.precision}"
            yield (
                f"    {parity.backend}{executed_in}{', emulated' * parity.emulated}, {parity.data}:"
                f" mask Dice {parity.mask_dice:.4f}, probability"
                f" {parity.max_abs_difference:.1e} at most"
                f"{', BEYOND ITS BOUND' * bool(parity.shortfall)}"
            )
    if manifest.quantization is not None:
        made = manifest.quantization
        yield f"int8 by {made.quantizer}; in float32: {', '.join(made.left_out) or 'nothing'}"
    for reason in manifest.refused:
        yield f"left out: {reason}"
    for engine in manifest.engines:
        yield engine_line(bundle, engine)
    there = [path for file in manifest.files if (path := bundle.path_of(file)).is_file()]
    yield f"{sum(path.stat().st_size for path in there) / 1e6:.1f} MB in all"


def engine_line(bundle: Bundle, engine: Engine) -> str:
    """Say what an engine is."""
    views_each = len(VIEWS) // engine.views  # of a slice that is executed view by view
    least, most = (
        max(1, count // views_each) for count in (engine.profile.least, engine.profile.most)
    )
    return (
        f"{engine.path}: {_megabytes(bundle, engine)}, {engine.kind} {engine.version} for"
        f" {', '.join(engine.targets)}, {least} to {most} slices of eight views,"
        f" attention fused in {engine.fused_attention} of {engine.attention_layers} layers,"
        f" built in {engine.build_seconds:g} s"
    )


def _megabytes(bundle: Bundle, file: File) -> str:
    path = bundle.path_of(file)
    return f"{path.stat().st_size / 1e6:.1f} MB" if path.is_file() else "MISSING"
