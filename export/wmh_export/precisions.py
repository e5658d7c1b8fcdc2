"""Graphs of one network in every precision, each kept only where it is proven to be the network."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from wmh_export.graph import label, trace
from wmh_export.half import HalfView, require_float32_inside, require_headroom
from wmh_export.quantise import Quantiser, search
from wmh_export.views import with_eight_views
from wmh_export.weights import save_sharing_weights
from wmh_runtime.answers import Answers
from wmh_runtime.backends.graph import GraphBackend
from wmh_runtime.backends.onnxruntime import OnnxRuntimeBackend
from wmh_runtime.bundle import sha256_of
from wmh_runtime.errors import ExportError, WmhError
from wmh_runtime.manifest import File, Graph, QuantisationTrial
from wmh_runtime.parity import Data, Parity
from wmh_runtime.questions import Questions
from wmh_runtime.types import ALL_VIEWS, GraphPrecision, NetworkShape, Views
from wmh_runtime.verification import GraphFile, measure_graph
from wmh_train.model.network import WmhNetwork
from wmh_train.model.views import OneView


@dataclass(frozen=True)
class Proof:
    """What a graph must agree with to be kept."""

    asked: Mapping[Data, Answers]  # of the network before anything was merged or rewritten
    thresholds: Sequence[float]  # of the K outputs
    backends: Sequence[type[GraphBackend]]


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
        self.warnings: list[str] = []  # what graphs should not be executed in, and why

    def fp32(self) -> Written:
        """Write the graphs in float32.

        Raises:
            ExportError: one is not the network.
            BackendError: one cannot be executed.
        """
        self._on_step("fp32: tracing")
        return self._write("fp32", self._trace(OneView(self._network)))

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

    def int8(
        self, quantiser: Quantiser, unseen: Questions
    ) -> tuple[Written, list[QuantisationTrial]]:
        """Write the graphs in INT8, but for layers that it hurts.

        Args:
            quantiser: of the float32 graph of one view.
            unseen: slices to choose those layers on, which no other choice was made on.

        Raises:
            ExportError: one is not the network.
            BackendError: one cannot be executed.
        """
        answers = self._answers_of_fp32(unseen)

        def judge(model: ModelProto) -> tuple[float, float]:
            measured = self._try(model, answers)
            return (
                min(parity.mask_dice for parity in measured),
                max(parity.volume_percent for parity in measured),
            )

        def tell(trial: QuantisationTrial) -> None:
            left_out = ", ".join(trial.left_out) or "nothing"
            self._on_step(f"int8: {left_out} left in float32: mask Dice {trial.mask_dice:.4f}")

        model, trials = search(quantiser, judge, tell)
        return self._write("int8", model), trials

    def _trace(self, module: OneView | HalfView) -> ModelProto:
        return trace(module, self._shape.channels, self._shape.size_px)

    def _write(self, precision: GraphPrecision, one_view: ModelProto) -> Written:
        weights_name = f"weights.{precision}.bin"
        models = {1: one_view, 8: with_eight_views(one_view)}
        for views, model in models.items():
            label(model, {**self._facts, "precision": precision, "views": str(views)})
        names = {views: f"{views}-view.{precision}.onnx" for views in ALL_VIEWS}
        save_sharing_weights(
            {names[views]: models[views] for views in ALL_VIEWS}, self._folder, weights_name
        )
        try:
            graphs = [self._proven(names[views], precision, views) for views in ALL_VIEWS]
        except WmhError:
            for name in (*names.values(), weights_name):
                (self._folder / name).unlink()
            raise
        return Written(graphs, self._file(weights_name))

    def _proven(self, name: str, precision: GraphPrecision, views: Views) -> Graph:
        self._on_step(f"{precision}: comparing {views} view(s) with the network")
        measured = self._measure(
            GraphFile(self._folder / name, precision, views), self._proof.asked
        )
        for parity in measured:
            if parity.shortfall and parity.precision == precision:
                raise ExportError(
                    f"{name} is not the network on {parity.backend}, {parity.data}:"
                    f" {parity.shortfall}",
                    "It is not put into the bundle.",
                )
        self.warnings += [
            f"{p.precision} of {name} on {p.backend}: {p.shortfall}"
            for p in measured
            if p.shortfall
        ]
        return Graph(
            **self._file(name).model_dump(),
            precision=precision,
            views=views,
            parity=[parity for parity in measured if not parity.shortfall],
        )

    def _try(self, model: ModelProto, answers: Answers) -> list[Parity]:
        with tempfile.TemporaryDirectory() as folder:
            save_sharing_weights({"try.onnx": model}, Path(folder), "weights.bin")
            graph = GraphFile(Path(folder, "try.onnx"), "int8", 1)
            return self._measure(graph, {"phantoms": answers})

    def _measure(self, graph: GraphFile, asked: Mapping[Data, Answers]) -> list[Parity]:
        proof = self._proof
        return list(measure_graph(graph, self._shape, asked, proof.thresholds, proof.backends))

    def _answers_of_fp32(self, questions: Questions) -> Answers:
        graph = self._folder / "1-view.fp32.onnx"
        with OnnxRuntimeBackend(graph, self._shape) as backend:
            return Answers(
                questions.slices, questions.pixel_ml, {1: backend.predict(questions.slices)}
            )

    def _file(self, name: str) -> File:
        path = self._folder / name
        return File(path=f"{self._folder.name}/{name}", sha256=sha256_of(path))
