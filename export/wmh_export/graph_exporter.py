"""Graphs of one network in every precision, each kept only where it is proven to be the network."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
from onnx import ModelProto

from wmh_export.graphs.trace import label, trace
from wmh_export.graphs.views import with_eight_views
from wmh_export.graphs.weights import save_sharing_weights
from wmh_export.network.half import HalfView, require_float32_inside, require_headroom
from wmh_export.quantization.quantize import Quantizer, search
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
from wmh_runtime.tta import ALL_VIEWS, Views
from wmh_runtime.types import NetworkShape
from wmh_train.model.network import WmhNetwork
from wmh_train.model.views import OneView


@dataclass(frozen=True)
class Proof:
    """What a graph must agree with to be kept.

    ONNX Runtime decides; how far other backends are is recorded, and each is refused where it is
    used and beyond the bound.
    """

    asked: Sequence[ReferenceOutputs]  # of the network before anything was merged or rewritten
    backends: Sequence[type[CpuBackend]]


@dataclass(frozen=True)
class Written:
    """The graphs of one precision, and what they read."""

    graphs: list[Graph]
    weights: File


class GraphWriter:
    """Writes the graphs of a network, one precision after another.

    Args:
        network: merged and rewritten.
        shape: of it.
        folder: exists; it gets `8-view.fp32.onnx`, `weights.fp32.bin` and so on.
        proof: of every precision.
        facts: for the metadata of every graph.
        on_step: is told each step.
    """

    def __init__(
        self,
        network: WmhNetwork,
        shape: NetworkShape,
        folder: Path,
        proof: Proof,
        facts: Mapping[str, str],
        on_step: Callable[[str], None],
    ) -> None:
        self._network = network
        self._shape = shape
        self._folder = folder
        self._proof = proof
        self._facts = facts
        self._on_step = on_step
        self.warnings: list[str] = []  # what failed and decides nothing

    def fp32(self) -> Written:
        """Write the graphs in float32.

        Raises:
            ExportError: one is not the network.
            BackendError: one cannot be executed.
        """
        self._on_step("fp32: tracing")
        return self._write("fp32", self._trace(OneView(self._network)))

    def quantizer(self, calibration: Sequence[ProbeSlices], scratch: Path) -> Quantizer:
        """Return what makes INT8 graphs of the float32 one, which is written already.

        Args:
            calibration: slices whose activations decide the scales.
            scratch: folder for passing files.
        """
        return Quantizer(self._folder / _graph_name(1, "fp32"), calibration, scratch)

    def int8(
        self, quantizer: Quantizer, searched: Sequence[ProbeSlices]
    ) -> tuple[Written, Quantization]:
        """Write the graphs in INT8, but for layers that it hurts.

        Args:
            quantizer: of the float32 graph.
            searched: slices to choose those layers on, which decide no comparison.

        Raises:
            ExportError: one is not the network.
            BackendError: one cannot be executed.
        """
        self._on_step("int8: searching for what it hurts")
        asked = [self._answers_of_fp32(questions) for questions in searched]
        asked = [answers for answers in asked if answers.finds_lesions]
        if not asked:
            raise ExportError(
                "the network finds no lesion in the heads of the search", "Train it further."
            )

        def judge(model: ModelProto) -> list[Parity]:
            return self._try(model, asked)

        def tell(trial: QuantizationTrial) -> None:
            left_out = ", ".join(trial.left_out) or "nothing"
            self._on_step(f"int8: {left_out} left in float32: mask Dice {trial.mask_dice:.4f}")

        model, left_out, trials = search(quantizer, judge, tell)
        made = Quantization(
            quantizer=f"onnxruntime {onnxruntime.__version__}",
            calibration_slices={part.data: len(part) for part in quantizer.calibration},
            left_out=left_out,
            trials=trials,
        )
        return self._write("int8", model), made

    def fp16(self, largest_activation: float) -> Written:
        """Write the graphs in half precision, LayerNorm and softmax in float32.

        Args:
            largest_activation: that the float32 network was seen to reach.

        Raises:
            ExportError: one is not the network, or would not be where float16 is not emulated.
            BackendError: one cannot be executed.
        """
        require_headroom(largest_activation)
        self._on_step("fp16: tracing")
        model = self._trace(HalfView(self._network))
        require_float32_inside(model)
        return self._write("fp16", model)

    def _trace(self, module: OneView | HalfView) -> ModelProto:
        return trace(module, self._shape.channels, self._shape.size_px)

    def _write(self, precision: GraphPrecision, one_view: ModelProto) -> Written:
        models = {1: one_view, 8: with_eight_views(one_view)}
        for views, model in models.items():
            label(model, {**self._facts, "precision": precision, "views": str(views)})
        named = {_graph_name(views, precision): models[views] for views in ALL_VIEWS}
        weights_name = f"weights.{precision}.bin"
        try:
            save_sharing_weights(named, self._folder, weights_name)
            weights = self._file(weights_name)
            graphs = [self._proven(precision, views, weights) for views in ALL_VIEWS]
        except WmhError:
            for name in (*named, weights_name):
                (self._folder / name).unlink(missing_ok=True)
            raise
        return Written(graphs, weights)

    def _proven(self, precision: GraphPrecision, views: Views, weights: File) -> Graph:
        name = _graph_name(views, precision)
        self._on_step(f"{precision}: comparing {count_noun(views, 'view')} with the network")
        graph = GraphFile(self._folder / name, precision, views)
        measured = self._measure(graph, self._proof.asked)
        for parity in measured:
            if parity.shortfall and parity.library == OnnxRuntimeBackend.name:
                raise ExportError(
                    f"{name} is not the network on {parity.backend}, {parity.data}:"
                    f" {parity.shortfall}",
                    "It is not put into the bundle.",
                )
        return Graph(
            **self._file(name).model_dump(),
            precision=precision,
            views=views,
            weights=weights.path,
            parity=measured,
        )

    def _try(self, model: ModelProto, asked: Sequence[ReferenceOutputs]) -> list[Parity]:
        with tempfile.TemporaryDirectory() as folder:
            graph = Path(folder, "try.onnx")
            save_sharing_weights({graph.name: model}, graph.parent, "weights.bin")
            measured: list[Parity] = []
            for backend in self._proof.backends:
                with backend(graph, self._shape, precision="int8") as candidate:
                    measured += [measure_parity(answers, candidate, 1) for answers in asked]
        return measured

    def _measure(self, graph: GraphFile, asked: Sequence[ReferenceOutputs]) -> list[Parity]:
        """Ask every backend; where another than ONNX Runtime fails, that is said and no more."""
        measured: list[Parity] = []
        for backend in self._proof.backends:
            try:
                measured += measure_graph(graph, self._shape, asked, [backend])
            except BackendError as error:
                if backend is OnnxRuntimeBackend:
                    raise
                self.warnings.append(f"{graph.path.name} on {backend.name}: {error}")
        return measured

    def _answers_of_fp32(self, questions: ProbeSlices) -> ReferenceOutputs:
        graph = self._folder / _graph_name(1, "fp32")
        with OnnxRuntimeBackend(graph, self._shape) as backend:
            probability = backend.predict(questions.slices)
        return ReferenceOutputs(questions, {1: probability}, self._proof.asked[0].thresholds)

    def _file(self, name: str) -> File:
        path = self._folder / name
        return File(path=f"{self._folder.name}/{name}", sha256=sha256_file(path))


def _graph_name(views: Views, precision: GraphPrecision) -> str:
    return f"{views}-view.{precision}.onnx"
