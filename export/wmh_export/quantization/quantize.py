"""Static INT8 quantization (QDQ format) for CPUs; sensitive layer groups stay in float32.

Scales and bias corrections are computed once, from calibration slices. So the result of a slice
does not depend on the other slices of its batch. A search measures which layer groups must stay in
float32; the manifest records its trials.
"""

from __future__ import annotations

import json
import logging
import math
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from wmh_export.graphs.trace import INPUT_NAME, strip_metadata
from wmh_export.quantization.bias_correction import BiasCorrection
from wmh_runtime.bundle.manifest import QuantizationTrial
from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.conformance.probe_slices import ProbeSlices
from wmh_runtime.errors import ExportError
from wmh_runtime.types import Floats

# Layers with the same role in every block, as patterns of node names. The groups that are cheapest
# in float32 come first. Manifests contain these keys.
SAM_LAYER_GROUPS = {
    "decoder": r"decoder\b",
    "neck": r"encoder\.neck\b",
    "patches": r"(adapter|encoder\.patch_embed)\b",
    "attention": r"encoder\.blocks\.\d+\.attn/",
    "attention outputs": r"encoder\.blocks\.\d+\.attn\.out/",
    "queries, keys, values": r"encoder\.blocks\.\d+\.attn\.(query|key|value)/",
    "second MLP layers": r"encoder\.blocks\.\d+\.mlp\.lin2/",
    "first MLP layers": r"encoder\.blocks\.\d+\.mlp\.lin1/",
}
_MAX_STAGES = 8  # a slice of 1024 pixels halved so many times has 4
_VGG16_STAGES = dict(enumerate(["0|3", "7|10", "14|17|20", "24|27|30", "34|37|40"]))


def _encoder_stage(index: int) -> str:
    """Return the pattern of a stage. VGG16 numbers its convolutions, other U-Nets their stages."""
    stage = rf"encoder\.stages\.{index}\."
    numbers = _VGG16_STAGES.get(index)
    return rf"{stage}|encoder\.features\.({numbers})/" if numbers else stage


UNET_LAYER_GROUPS = (
    {"last layer": r"decoder\.head/"}
    | {f"encoder stage {i + 1}": _encoder_stage(i) for i in reversed(range(_MAX_STAGES))}
    | {
        f"decoder stage {i + 1}": rf"decoder\.(projections|stages)\.{i}\."
        for i in range(_MAX_STAGES)
    }
)
_UNET_NODES = ("encoder.stages.", "encoder.features.")
_QUANTIZED_OPERATORS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
_CALIBRATED_OPERATORS = (*_QUANTIZED_OPERATORS, "Add")  # their activation ranges are measured
_TARGET_SHARE = 0.85  # of the tolerance; the share varied by 0.15 between sets of slices


class Quantizer:
    """Makes INT8 graphs of one float32 graph. Activation ranges are measured only once.

    Args:
        graph: .onnx file, float32, one view.
        calibration: slices whose activations determine the scales.
        temporary_folder: for temporary files.
    """

    def __init__(
        self, graph: Path, calibration: Sequence[ProbeSlices], temporary_folder: Path
    ) -> None:
        self._nodes = _quantizable_nodes(onnx.load(graph, load_external_data=False).graph)
        is_unet = any(name.startswith(_UNET_NODES) for name in self._nodes)
        self._patterns = {
            group: pattern
            for group, pattern in (UNET_LAYER_GROUPS if is_unet else SAM_LAYER_GROUPS).items()
            if any(re.match(pattern, name) for name in self._nodes)
        }
        self._graph = graph
        self.calibration = calibration
        self._temporary_folder = temporary_folder
        self._ranges = temporary_folder / "ranges.json"

    @property
    def groups(self) -> list[str]:
        """The groups that have layers in this graph."""
        return list(self._patterns)

    @cached_property
    def _bias_correction(self) -> BiasCorrection:
        return BiasCorrection(onnx.load(self._graph), list(self._slices()))

    def quantize(self, float32_groups: Iterable[str]) -> ModelProto:
        """Return a QDQ graph of one view, with some layer groups left in float32.

        Args:
            float32_groups: some of `groups`.

        Raises:
            ExportError: ONNX Runtime cannot quantize the graph.
        """
        model = self._quantize_without_correction(float32_groups)
        self._bias_correction.correct(model)
        return model

    def _quantize_without_correction(self, float32_groups: Iterable[str]) -> ModelProto:
        patterns = [self._patterns[group] for group in float32_groups]
        in_float32 = re.compile("|".join(patterns) or r"(?!)")
        nodes = [name for name in self._nodes if not in_float32.match(name)]
        with (
            tempfile.TemporaryDirectory(dir=self._temporary_folder) as folder,
            _without_warnings(),
        ):
            result = Path(folder, "int8.onnx")
            self._quantize_to(result, nodes)
            model = onnx.load(result)
        strip_metadata(model)
        return model

    def _quantize_to(self, result: Path, nodes: list[str]) -> None:
        try:
            quantize_static(
                self._graph,
                result,
                _SliceReader(self._slices()),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_CALIBRATED_OPERATORS),
                nodes_to_quantize=nodes,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                use_external_data_format=True,
                # Outputs of MatMul stay in float32.
                extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
                calibration_cache_path=self._ranges,
            )
        except (OSError, MemoryError):
            raise
        except Exception as error:  # ONNX Runtime's quantizer raises errors of many types
            advice = "Install the versions of constraints.txt, which are the tested ones."
            raise ExportError(f"ONNX Runtime cannot quantize ({error})", advice) from error

    def _slices(self) -> Iterator[Floats]:
        return chain.from_iterable(probes.slices for probes in self.calibration)

    def largest_activation(self) -> float:
        """Return the largest absolute activation on the calibration slices.

        Includes all inputs and outputs of matrix products, convolutions and sums.

        Raises:
            ExportError: ONNX Runtime cannot execute the graph.
        """
        if not self._ranges.exists():
            self._quantize_without_correction([])
        ranges = json.loads(self._ranges.read_text(encoding="utf-8"))["data"].values()
        return max(
            abs(value)
            for tensor in ranges
            for end in ("lowest", "highest")
            for value in tensor[end]["data"]
        )


@dataclass(frozen=True)
class QuantizedGraph:
    """A quantized graph and its parity with the float32 graph."""

    model: ModelProto
    float32_groups: list[str]  # layer groups that are left in float32
    measured: Sequence[Parity]

    @property
    def share_of_tolerance(self) -> float:
        """The used share of INT8's tolerance; above 1: beyond the tolerance."""
        return max(parity.share_of_tolerance for parity in self.measured)

    @property
    def trial(self) -> QuantizationTrial:
        """The record for the manifest."""
        volume_percent = max(parity.volume_percent for parity in self.measured)
        return QuantizationTrial(
            float32_groups=self.float32_groups,
            mask_dice=min(parity.mask_dice for parity in self.measured),
            volume_percent=volume_percent if math.isfinite(volume_percent) else None,
        )


def search_float32_groups(
    quantizer: Quantizer,
    measure: Callable[[ModelProto], Sequence[Parity]],
    on_trial: Callable[[QuantizationTrial], None],
) -> Iterator[QuantizedGraph]:
    """Find the layer groups that must stay in float32, as few as possible.

    First quantize everything. If that is beyond the target, quantize each group alone to rank the
    groups by sensitivity. Then leave the most sensitive ones in float32, one more in each trial.

    Args:
        quantizer: of the float32 graph.
        measure: measures the parity of a quantized graph with the float32 graph.
        on_trial: called after each trial.

    Yields:
        The graphs of the first and the last part of the search that use at most 85 % of INT8's
        tolerance, from the one with the fewest groups in float32; take the first that is right on
        other slices, too. At the end, the one with the best parity of all, if it was not among
        them.
    """
    best: QuantizedGraph | None = None

    def try_groups(float32_groups: list[str]) -> QuantizedGraph:
        nonlocal best
        model = quantizer.quantize(float32_groups)
        graph = QuantizedGraph(model, float32_groups, measure(model))
        if best is None or graph.share_of_tolerance < best.share_of_tolerance:
            best = graph
        on_trial(graph.trial)
        return graph

    yielded: list[list[str]] = []
    graph = try_groups([])
    if graph.share_of_tolerance <= _TARGET_SHARE:
        yielded.append(graph.float32_groups)
        yield graph
    groups = quantizer.groups
    sensitivity = {
        group: try_groups([other for other in groups if other != group]).share_of_tolerance
        for group in groups
    }
    by_sensitivity = sorted(groups, key=lambda group: -sensitivity[group])
    for count in range(1, len(groups) - 1):  # a single group in INT8 was tried above
        graph = try_groups(by_sensitivity[:count])
        if graph.share_of_tolerance <= _TARGET_SHARE:
            yielded.append(graph.float32_groups)
            yield graph
    if best is not None and best.float32_groups not in yielded:
        yield best


def _quantizable_nodes(graph: GraphProto) -> list[str]:
    """Return the names of all matrix products and convolutions that can be quantized.

    Not the products with relative-position tables: ONNX Runtime cannot execute stacked matrices
    with one scale per channel. Not the convolutions of the image itself: 8 bits are too few for it,
    and they are cheap.
    """
    dimensions = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type in _QUANTIZED_OPERATORS
        and not (node.op_type == "MatMul" and dimensions.get(node.input[1], 2) > 2)
        and INPUT_NAME not in node.input
    ]


class _SliceReader(CalibrationDataReader):  # type: ignore[misc]
    """Passes the calibration slices to ONNX Runtime, one at a time."""

    def __init__(self, slices: Iterator[Floats]) -> None:
        self._slices = slices

    def get_next(self) -> dict[str, Floats] | None:
        one = next(self._slices, None)
        return None if one is None else {INPUT_NAME: one[None]}


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Hide ONNX Runtime's advice to preprocess the graph, which the exporter has already done."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
