"""Export a network to ONNX graphs in every precision; keep only graphs that pass the check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
from onnx import ModelProto

from wmh_export.cuda_graphs import CudaGraphs, make_cuda_graphs
from wmh_export.graphs.trace import set_metadata, trace
from wmh_export.graphs.views import with_eight_views
from wmh_export.graphs.weights import save_with_shared_weights, temporary_graph
from wmh_export.network.half_precision import (
    HalfPrecisionNetwork,
    require_float16_range,
    require_float32_operators,
)
from wmh_export.quantization.quantize import Quantizer, search_float32_groups
from wmh_runtime.backends.onnx_graph import CpuBackend
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.bundle.manifest import File, Graph, Quantization, QuantizationTrial
from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.conformance.measure import measure_parity
from wmh_runtime.conformance.probe_slices import ProbeSlices
from wmh_runtime.conformance.reference_outputs import ReferenceOutputs
from wmh_runtime.conformance.verify import GraphFile, measure_graph
from wmh_runtime.errors import BackendError, ExportError, WmhError
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.precision import GraphPrecision
from wmh_runtime.text import count_noun
from wmh_runtime.tta import VIEW_COUNTS, Views
from wmh_runtime.types import GraphProvider, NetworkShape
from wmh_train.model.network import WmhNetwork
from wmh_train.model.views import OneView


@dataclass(frozen=True)
class ParityCheck:
    """What every exported graph is compared with, and the backends that execute it.

    A graph is kept if ONNX Runtime is within the tolerance of its precision. The parity of other
    backends is recorded; the runtime refuses a backend that is beyond the tolerance.
    """

    references: Sequence[ReferenceOutputs]  # of the trained network, before merge and rewrite
    backends: Sequence[type[CpuBackend]]


@dataclass(frozen=True)
class ExportedPrecision:
    """The graphs of one precision and their common file of weights."""

    graphs: list[Graph]
    weights: File


class GraphExporter:
    """Exports the graphs of a network, one precision at a time.

    Args:
        network: merged and rewritten.
        shape: input and output shape of the network.
        folder: existing folder for the files, such as `8-view.fp32.onnx` and `weights.fp32.bin`.
        parity_check: applied to the graphs of every precision.
        metadata: written into every graph.
        on_step: called with a description of each step.
    """

    def __init__(
        self,
        network: WmhNetwork,
        shape: NetworkShape,
        folder: Path,
        parity_check: ParityCheck,
        metadata: Mapping[str, str],
        on_step: Callable[[str], None],
    ) -> None:
        self._network = network
        self._shape = shape
        self._folder = folder
        self._parity_check = parity_check
        self._metadata = metadata
        self._on_step = on_step
        self.warnings: list[str] = []  # backends other than ONNX Runtime that failed

    def export_fp32(self) -> ExportedPrecision:
        """Export the float32 graphs.

        Raises:
            ExportError: a graph differs from the trained network.
            BackendError: a graph cannot be executed.
        """
        self._on_step("fp32: tracing")
        return self._export("fp32", self._trace(OneView(self._network)))

    def create_quantizer(
        self, calibration: Sequence[ProbeSlices], temporary_folder: Path
    ) -> Quantizer:
        """Create a quantizer of the float32 graph, which must have been exported before.

        Args:
            calibration: slices whose activations determine the scales.
            temporary_folder: for the quantizer's temporary files.
        """
        return Quantizer(self._folder / _graph_name(1, "fp32"), calibration, temporary_folder)

    def export_int8(
        self, quantizer: Quantizer, search_slices: Sequence[ProbeSlices]
    ) -> tuple[ExportedPrecision, Quantization]:
        """Export the INT8 graphs, with sensitive layer groups in float32.

        Args:
            quantizer: of the float32 graph.
            search_slices: slices that select these groups; not used in the parity check.

        Raises:
            ExportError: a graph differs from the trained network.
            BackendError: a graph cannot be executed.
        """
        self._on_step("int8: searching for layer groups to leave in float32")
        references = [self._fp32_outputs(probes) for probes in search_slices]
        references = [reference for reference in references if reference.has_findings]
        if not references:
            raise ExportError(
                "the network finds nothing in the slices of the search", "Train it further."
            )

        def measure(model: ModelProto) -> list[Parity]:
            return self._measure_candidate(model, references)

        trials: list[QuantizationTrial] = []

        def report(trial: QuantizationTrial) -> None:
            trials.append(trial)
            groups = ", ".join(trial.float32_groups) or "nothing"
            self._on_step(f"int8: {groups} left in float32: mask Dice {trial.mask_dice:.4f}")

        refusals: list[ExportError] = []
        warnings = list(self.warnings)
        for graph in search_float32_groups(quantizer, measure, report):
            try:
                exported = self._export("int8", graph.model)
            except ExportError as error:  # the slices of the search are others than those of parity
                self._on_step(f"int8: {error}")
                refusals.append(error)
                self.warnings[:] = warnings  # without those about this graph
                continue
            quantization = Quantization(
                quantizer=f"onnxruntime {onnxruntime.__version__}",
                calibration_slices={probes.data: len(probes) for probes in quantizer.calibration},
                float32_groups=graph.float32_groups,
                trials=trials,
            )
            return exported, quantization
        raise refusals[0]  # the search yields one graph at least

    def export_fp16(self, largest_activation: float) -> ExportedPrecision:
        """Export the float16 graphs, with LayerNorm and softmax in float32.

        Args:
            largest_activation: the largest absolute activation of the float32 network.

        Raises:
            ExportError: a graph differs from the trained network, or would overflow on hardware
                that computes in float16.
            BackendError: a graph cannot be executed.
        """
        require_float16_range(largest_activation)
        self._on_step("fp16: tracing")
        model = self._trace(HalfPrecisionNetwork(self._network))
        require_float32_operators(model)
        references = self._parity_check.references
        try:
            for_cuda = make_cuda_graphs(self._network, self._shape, references, self._on_step)
        except (ExportError, BackendError) as error:
            self.warnings.append(f"no graphs for CUDA are exported: {error}")
            return self._export("fp16", model)
        return self._export("fp16", model, for_cuda)

    def _trace(self, module: OneView | HalfPrecisionNetwork) -> ModelProto:
        return trace(module, self._shape.channels, self._shape.size_px)

    def _export(
        self,
        precision: GraphPrecision,
        one_view: ModelProto,
        for_cuda: CudaGraphs | None = None,
    ) -> ExportedPrecision:
        """Write the graphs of one view and of eight views; remove the files if one is refused."""
        models: dict[Views, ModelProto] = {1: one_view, 8: with_eight_views(one_view)}
        by_provider: dict[GraphProvider, Mapping[Views, ModelProto]] = {"": models}
        if for_cuda is not None:
            by_provider["cuda"] = for_cuda.models
        models_by_name = {}
        for provider, of_provider in by_provider.items():
            for views, model in of_provider.items():
                metadata = {"precision": precision, "views": str(views)}
                set_metadata(model, {**self._metadata, **metadata})
                models_by_name[_graph_name(views, precision, provider)] = model
        weights_name = f"weights.{precision}.bin"
        try:
            save_with_shared_weights(models_by_name, self._folder, weights_name)
            weights = self._file(weights_name)
            graphs = [self._checked_graph(precision, views, weights) for views in VIEW_COUNTS]
            if for_cuda is not None:
                graphs += [
                    Graph(
                        **self._file(_graph_name(views, precision, "cuda")).model_dump(),
                        precision=precision,
                        views=views,
                        provider="cuda",
                        weights=weights.path,
                        parity=for_cuda.parity[views],
                    )
                    for views in VIEW_COUNTS
                ]
        except WmhError:
            for name in (*models_by_name, weights_name):
                (self._folder / name).unlink(missing_ok=True)
            raise
        return ExportedPrecision(graphs, weights)

    def _checked_graph(self, precision: GraphPrecision, views: Views, weights: File) -> Graph:
        """Measure the parity of a graph and return its manifest entry."""
        name = _graph_name(views, precision)
        self._on_step(f"{precision}: comparing {count_noun(views, 'view')} with the network")
        graph = GraphFile(self._folder / name, precision, views)
        measured = self._measure(graph, self._parity_check.references)
        for parity in measured:
            if parity.violation and parity.library == OnnxRuntimeBackend.name:
                raise ExportError(
                    f"{name} differs from the trained network on {parity.backend}, {parity.data}:"
                    f" {parity.violation}",
                    "This precision is not exported.",
                )
        return Graph(
            **self._file(name).model_dump(),
            precision=precision,
            views=views,
            weights=weights.path,
            parity=measured,
        )

    def _measure_candidate(
        self, model: ModelProto, references: Sequence[ReferenceOutputs]
    ) -> list[Parity]:
        """Measure the parity of an INT8 graph of the search, on every backend."""
        measured: list[Parity] = []
        with temporary_graph(model) as graph:
            for backend in self._parity_check.backends:
                with backend(graph, self._shape, precision="int8") as candidate:
                    measured += [
                        measure_parity(reference, candidate, 1) for reference in references
                    ]
        return measured

    def _measure(self, graph: GraphFile, references: Sequence[ReferenceOutputs]) -> list[Parity]:
        """Measure parity on every backend. A failure is an error only in ONNX Runtime."""
        measured: list[Parity] = []
        for backend in self._parity_check.backends:
            try:
                measured += measure_graph(graph, self._shape, references, [backend])
            except BackendError as error:
                if backend is OnnxRuntimeBackend:
                    raise
                self.warnings.append(f"{graph.path.name} on {backend.name}: {error}")
        return measured

    def _fp32_outputs(self, probes: ProbeSlices) -> ReferenceOutputs:
        """Return the outputs of the float32 graph, with which the INT8 search compares."""
        graph = self._folder / _graph_name(1, "fp32")
        with OnnxRuntimeBackend(graph, self._shape) as backend:
            probability = backend.predict(probes.slices)
        references = self._parity_check.references
        similar = next((one for one in references if one.probes.data == probes.data), references[0])
        return ReferenceOutputs(probes, {1: probability}, similar.thresholds, similar.region_count)

    def _file(self, name: str) -> File:
        path = self._folder / name
        return File(path=f"{self._folder.name}/{name}", sha256=sha256_file(path))


def _graph_name(views: Views, precision: GraphPrecision, provider: GraphProvider = "") -> str:
    made_for = f".{provider}" if provider else ""
    return f"{views}-view.{precision}{made_for}.onnx"
