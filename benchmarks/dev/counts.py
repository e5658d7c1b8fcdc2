"""Count what an export produces and what a run executes.

Unlike times, counts are the same on every machine. If a change makes one of them larger, the commit
must say why. `regression_check.py` compares them.
"""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from wmh_bench.ceilings.operations import count_operators, flop_per_slice
from wmh_export.cuda_graphs import trace_cuda_graphs
from wmh_export.engines.compiler import RTX_TARGETS, compile_graph
from wmh_export.graphs.trace import trace
from wmh_export.graphs.views import with_eight_views
from wmh_export.graphs.weights import save_with_shared_weights
from wmh_export.network.half_precision import HalfPrecisionNetwork
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.backends.tensorrt_library import load_tensorrt
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.bundle.manifest import BatchProfile
from wmh_runtime.cohort.job import Job, Progress
from wmh_runtime.cohort.local_engine import LocalEngine
from wmh_runtime.cohort.run import run
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import Discovery
from wmh_runtime.errors import NotInstalledError
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.phantom.cohort import ACCURACY_SEED, Plan, plan_cohort, write_phantom
from wmh_runtime.schema import StrictModel
from wmh_runtime.tta import Tta
from wmh_train.model.network import build_network
from wmh_train.model.views import OneView
from wmh_train.recipe.recipe import Recipe

_PROFILE = BatchProfile(min=1, opt=1, max=4)


class GraphCounts(StrictModel):
    """Counts of one exported graph."""

    operators: dict[str, int] = Field(description="number of operators by name")
    file_bytes: int = Field(description="of the graph without its weights")


class ScanCounts(StrictModel):
    """Counts of one scan, file to files."""

    scan: str
    slices: int
    slices_executed: int = Field(description="the other slices show no head")
    slices_in_all_views: int = Field(description="with adaptive test-time augmentation")
    peak_kb: int = Field(
        description="peak of Python's allocations, 10³ bytes, without those of the network"
    )


class Counts(StrictModel):
    """All counts."""

    schema_version: Literal[1] = 1
    kind: Literal["counts"] = "counts"
    recipe: str
    size_px: int
    gflop_per_view: float
    weights_bytes: dict[str, int] = Field(description="size of the weights file, by precision")
    graphs: dict[str, GraphCounts] = Field(description="by views and precision")
    attention_layers: int
    fused_attention_layers: int | None = Field(
        description="layers that TensorRT-RTX fuses; null if it is not installed"
    )
    scans: list[ScanCounts]


def phantoms_to_count() -> list[Plan]:
    """Plan the phantoms: two sites, a small and a large lesion load."""
    return plan_cohort(2, ACCURACY_SEED, (1.0, 30.0))


def count_export(recipe: Recipe) -> Counts:
    """Export a recipe's network with random weights in FP32 and FP16. `scans` stays empty."""
    network = rewrite(merge(build_network(recipe)))
    shape, encoder = recipe.network_shape, recipe.network.encoder
    graphs, weights_bytes = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for precision, module in (
            ("fp32", OneView(network)),
            ("fp16", HalfPrecisionNetwork(network)),
        ):
            one_view = trace(module, shape.channels, shape.size_px)
            models = {"1-view": one_view, "8-view": with_eight_views(one_view)}
            files = {f"{views}.{precision}.onnx": model for views, model in models.items()}
            if precision == "fp16":
                for_cuda = trace_cuda_graphs(network, shape)
                files |= {
                    f"{views}-view.fp16.cuda.onnx": model for views, model in for_cuda.items()
                }
            save_with_shared_weights(files, folder, f"weights.{precision}.bin")
            weights_bytes[precision] = (folder / f"weights.{precision}.bin").stat().st_size
            for file in files:
                path = folder / file
                graphs[path.stem] = GraphCounts(
                    operators=count_operators(path), file_bytes=path.stat().st_size
                )
        gflop_per_view = flop_per_slice(folder / "1-view.fp32.onnx") / 1e9
        fused = _count_fused_attention(folder / "8-view.fp16.onnx", shape.input_shape)
    return Counts(
        recipe=recipe.name,
        size_px=shape.size_px,
        gflop_per_view=round(gflop_per_view, 3),
        weights_bytes=weights_bytes,
        graphs=graphs,
        attention_layers=encoder.depth if encoder is not None else 0,
        fused_attention_layers=fused,
        scans=[],
    )


def _count_fused_attention(graph: Path, input_shape: tuple[int, int, int]) -> int | None:
    """Return the attention layers that TensorRT-RTX fuses. None: it is not installed."""
    try:
        library = load_tensorrt("rtx")
    except NotInstalledError:
        return None
    compiled = compile_graph(library, graph, _PROFILE, input_shape, targets=RTX_TARGETS)
    return compiled.fused_attention_layers


def count_scans(bundle: Bundle, plans: Sequence[Plan]) -> list[ScanCounts]:
    """Segment phantoms one after another.

    Args:
        bundle: of FLAIR. ONNX Runtime executes it in float32 to count the slices in all views.
        plans: of the phantoms.
    """
    counts = []
    with tempfile.TemporaryDirectory() as name:
        for plan in plans:
            write_phantom(plan, Path(name))
            path = plan.scan_path(Path(name))
            case = Case(path, Path(path.name))
            with OnnxRuntimeBackend.from_bundle(bundle, views=1) as backend:
                adaptive = _segment(bundle, case, Path(name) / "adaptive", backend, "adaptive")
            with FakeBackend(bundle.manifest.network_shape) as no_network:
                tracemalloc.start()
                try:
                    _segment(bundle, case, Path(name) / "full", no_network, "full")
                    _, peak = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
            counts.append(
                ScanCounts(
                    scan=plan.name,
                    slices=adaptive.slices,
                    slices_executed=adaptive.slices_executed,
                    slices_in_all_views=adaptive.slices_in_all_views,
                    peak_kb=round(peak / 1e3),
                )
            )
    return counts


class _SidecarCollector(Progress):
    def __init__(self) -> None:
        self.sidecars: list[Sidecar] = []

    def done(self, case: Case, sidecars: Sequence[Sidecar], *, kept: bool) -> None:  # noqa: ARG002
        self.sidecars += sidecars


def _segment(
    bundle: Bundle, case: Case, out: Path, backend: FakeBackend | OnnxRuntimeBackend, tta: Tta
) -> Sidecar:
    collector = _SidecarCollector()
    job = Job(Discovery((case,)), out, bundle, bundle.manifest.outputs_of(tta), tta=tta)
    outcome = run(job, LocalEngine([backend]), collector)
    for _, error in outcome.failed:
        raise error
    (sidecar,) = collector.sidecars
    return sidecar
