"""Make the graphs for the CUDA provider of ONNX Runtime, and compare them as far as a CPU can.

Their operators have no float16 on CPUs. So they are executed in float32 with the values of the
float16 weights. A run on a GPU compares the graphs themselves at their first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto

from wmh_export.graphs.cuda_variant import (
    drop_unused_outputs,
    require_cuda_operators,
    scale_by_constants,
    widened,
)
from wmh_export.graphs.trace import trace
from wmh_export.graphs.views import with_eight_views
from wmh_export.graphs.weights import temporary_graph
from wmh_export.network.cuda_encoder import for_cuda
from wmh_export.network.half_precision import HalfPrecisionNetwork, require_float32_operators
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.conformance.reference_outputs import ReferenceOutputs
from wmh_runtime.conformance.verify import GraphFile, measure_graph
from wmh_runtime.errors import ExportError
from wmh_runtime.text import count_noun
from wmh_runtime.tta import Views
from wmh_runtime.types import NetworkShape
from wmh_train.model.network import WmhNetwork


@dataclass(frozen=True)
class CudaGraphs:
    """Float16 graphs that only the CUDA provider executes, by the number of views."""

    models: Mapping[Views, ModelProto]
    parity: Mapping[Views, list[Parity]]  # emulated


def make_cuda_graphs(
    network: WmhNetwork,
    shape: NetworkShape,
    references: Sequence[ReferenceOutputs],
    on_step: Callable[[str], None],
) -> CudaGraphs:
    """Make the graphs of one view and of eight views, each [N, C, S, S] to [N, K, S, S].

    Args:
        network: merged and rewritten; not changed.
        shape: its input and output shape.
        references: outputs of the trained network to compare with.
        on_step: called with a description of each step.

    Raises:
        ExportError: a graph differs from the trained network, or has an operator that would not run
            on the GPU, or may overflow.
        BackendError: a graph cannot be executed.
    """
    on_step("fp16 for CUDA: tracing")
    models = trace_cuda_graphs(network, shape)
    parity: dict[Views, list[Parity]] = {}
    for views, model in models.items():
        on_step(f"fp16 for CUDA: comparing {count_noun(views, 'view')} with the network")
        parity[views] = _measure(model, views, shape, references)
        for measured in parity[views]:
            if measured.violation:
                raise ExportError(measured.violation)
    return CudaGraphs(models, parity)


def trace_cuda_graphs(network: WmhNetwork, shape: NetworkShape) -> dict[Views, ModelProto]:
    """Trace the graphs, without comparing them.

    Raises:
        ExportError: an operator would not run on the GPU, or may overflow.
    """
    one_view = trace(HalfPrecisionNetwork(for_cuda(network)), shape.channels, shape.size_px)
    drop_unused_outputs(one_view)
    scale_by_constants(one_view)
    require_float32_operators(one_view)
    models: dict[Views, ModelProto] = {
        1: one_view,
        8: with_eight_views(one_view, has_mean=False),
    }
    for model in models.values():
        require_cuda_operators(model)
    return models


def _measure(
    model: ModelProto, views: Views, shape: NetworkShape, references: Sequence[ReferenceOutputs]
) -> list[Parity]:
    """Measure a graph in float32 on the CPU, with the weights of float16."""
    with temporary_graph(widened(model)) as path:
        graph = GraphFile(path, "fp32", views)
        measured = list(measure_graph(graph, shape, references, [OnnxRuntimeBackend]))
    return [one.model_copy(update={"precision": "fp16", "emulated": True}) for one in measured]
