"""What an export and a run come to, in counts: the same on every machine, however noisy it is.

A change that makes any of them larger has to say why. `gate.py` compares.
"""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from wmh_bench.ceilings.operations import flop_a_slice, operators_of
from wmh_export.engines.compiler import TARGETS, compile_graph
from wmh_export.graphs.trace import trace
from wmh_export.graphs.views import with_eight_views
from wmh_export.graphs.weights import save_sharing_weights
from wmh_export.network.half import HalfView
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.backends.tensorrt_library import load_tensorrt
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.bundle.manifest import BatchProfile
from wmh_runtime.cohort.runner import Job, Progress, run
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import NotInstalledError
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.phantom.cohort import ACCURACY_SEED, Plan, plan_cohort, write_phantom
from wmh_runtime.schema import StrictModel
from wmh_runtime.tta import Tta
from wmh_train.model.network import WmhNetwork
from wmh_train.model.views import OneView
from wmh_train.recipe.recipe import Recipe
from wmh_train.torch_backend import TorchBackend

_PROFILE = BatchProfile(least=1, best=1, most=4)


class GraphCounts(StrictModel):
    """Of one graph."""

    operators: dict[str, int]
    file_bytes: int = Field(description="of the graph without its weights")


class ScanCounts(StrictModel):
    """Of one scan on its way, file to files."""

    scan: str
    slices: int
    executed: int = Field(description="the others show no head")
    looked_again: int = Field(description="by adaptive, with all views")
    peak_kb: int = Field(description="of Python's allocations, 10³ bytes, without the network's")


class Counts(StrictModel):
    """All of them."""

    schema_version: Literal[1] = 1
    kind: Literal["counts"] = "counts"
    recipe: str
    size_px: int
    gflop_a_view: float
    weights_bytes: dict[str, int] = Field(description="by precision, of the file of weights")
    graphs: dict[str, GraphCounts] = Field(description="by views and precision")
    attention_layers: int
    fused_attention: int | None = Field(description="by TensorRT-RTX; null where it is missing")
    scans: list[ScanCounts]


def counted_phantoms() -> list[Plan]:
    """Plan the phantoms that are counted: two sites, little lesion and much."""
    return plan_cohort(2, ACCURACY_SEED, (1.0, 30.0))


def count_export(recipe: Recipe) -> Counts:
    """Export a recipe's network with random weights, in FP32 and FP16, and count; no scan yet."""
    network = rewrite(merge(WmhNetwork(recipe)))
    shape = TorchBackend.shape_of(recipe)
    graphs, weights_bytes = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for precision, module in (("fp32", OneView(network)), ("fp16", HalfView(network))):
            one_view = trace(module, shape.channels, shape.size_px)
            models = {"1-view": one_view, "8-view": with_eight_views(one_view)}
            files = {f"{views}.{precision}.onnx": model for views, model in models.items()}
            save_sharing_weights(files, folder, f"weights.{precision}.bin")
            weights_bytes[precision] = (folder / f"weights.{precision}.bin").stat().st_size
            for file in files:
                path = folder / file
                graphs[path.stem] = GraphCounts(
                    operators=operators_of(path), file_bytes=path.stat().st_size
                )
        gflop_a_view = flop_a_slice(folder / "1-view.fp32.onnx") / 1e9
        fused = _fused_attention(folder / "8-view.fp16.onnx", shape.slice_in)
    return Counts(
        recipe=recipe.name,
        size_px=shape.size_px,
        gflop_a_view=round(gflop_a_view, 3),
        weights_bytes=weights_bytes,
        graphs=graphs,
        attention_layers=recipe.network.encoder.depth,
        fused_attention=fused,
        scans=[],
    )


def _fused_attention(graph: Path, slice_in: tuple[int, int, int]) -> int | None:
    try:
        toolkit = load_tensorrt("rtx")
    except NotInstalledError:
        return None
    return compile_graph(toolkit, graph, _PROFILE, slice_in, targets=TARGETS).fused_attention


def count_scans(bundle: Bundle, plans: Sequence[Plan]) -> list[ScanCounts]:
    """Run phantoms, one after another, and count what becomes of them.

    Args:
        bundle: of FLAIR; ONNX Runtime executes it in float32 to find what is looked at again.
        plans: which phantoms.
    """
    found = []
    with tempfile.TemporaryDirectory() as name:
        for plan in plans:
            write_phantom(plan, Path(name))
            path = plan.scan_path(Path(name))
            scan = Case(path, Path(path.name))
            with OnnxRuntimeBackend.of_bundle(bundle, views=1) as network:
                adaptive = _record(bundle, scan, Path(name) / "adaptive", network, "adaptive")
            with FakeBackend(bundle.manifest.network_shape) as nothing:
                tracemalloc.start()
                try:
                    _record(bundle, scan, Path(name) / "full", nothing, "full")
                    _, peak = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
            found.append(
                ScanCounts(
                    scan=plan.name,
                    slices=adaptive.slices,
                    executed=adaptive.slices_executed,
                    looked_again=adaptive.slices_in_all_views,
                    peak_kb=round(peak / 1e3),
                )
            )
    return found


class _Keeping(Progress):
    def __init__(self) -> None:
        self.records: list[Sidecar] = []

    def done(self, scan: Case, records: Sequence[Sidecar], *, kept: bool) -> None:  # noqa: ARG002
        self.records += records


def _record(
    bundle: Bundle, scan: Case, out: Path, backend: FakeBackend | OnnxRuntimeBackend, tta: Tta
) -> Sidecar:
    keeping = _Keeping()
    job = Job([scan], out, bundle, bundle.manifest.outputs_of(tta), tta=tta)
    outcome = run(job, [backend], keeping)
    for _, error in outcome.failed:
        raise error
    (record,) = keeping.records
    return record
