"""INT8 for CPUs: a QDQ graph with static scales, all but the groups of layers that it hurts.

Scales come from calibration slices, once, so that the result of a slice does not depend on others
of its batch; so do corrections of the biases. Which groups stay in float32 is found by measurement
and recorded.
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

from wmh_export.graphs.trace import INPUT_NAME, strip
from wmh_export.quantization.bias import BiasCorrection
from wmh_runtime.bundle.manifest import QuantizationTrial
from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.conformance.probe_slices import ProbeSlices
from wmh_runtime.errors import ExportError
from wmh_runtime.types import Floats

# Layers that do the same thing in every block, by the names of their nodes; those that cost least
# in float32 first.
GROUPS = {
    "decoder": r"decoder\b",
    "neck": r"encoder\.neck\b",
    "patches": r"(adapter|encoder\.patch_embed)\b",
    "attention": r"encoder\.blocks\.\d+\.attn/",
    "attention outputs": r"encoder\.blocks\.\d+\.attn\.out/",
    "queries, keys, values": r"encoder\.blocks\.\d+\.attn\.(query|key|value)/",
    "second MLP layers": r"encoder\.blocks\.\d+\.mlp\.lin2/",
    "first MLP layers": r"encoder\.blocks\.\d+\.mlp\.lin1/",
}
_QUANTIZED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
_WELL_WITHIN = 0.85  # of the bound: other slices differed by 0.15 of it
_WATCHED = (*_QUANTIZED, "Add")


class Quantizer:
    """Makes INT8 graphs of one float32 graph; its activations are looked at once.

    Args:
        graph: the .onnx file, float32, of one view.
        calibration: slices whose activations decide the scales.
        scratch: folder for passing files.
    """

    def __init__(self, graph: Path, calibration: Sequence[ProbeSlices], scratch: Path) -> None:
        self._nodes = _quantisable(onnx.load(graph, load_external_data=False).graph)
        self._graph = graph
        self.calibration = calibration
        self._scratch = scratch
        self._ranges = scratch / "ranges.json"

    @cached_property
    def _bias_correction(self) -> BiasCorrection:
        return BiasCorrection(onnx.load(self._graph), list(self._slices()))

    def quantize(self, left_out: Iterable[str]) -> ModelProto:
        """Return a QDQ graph of one view, int8 but for some groups of layers.

        Raises:
            ExportError: ONNX Runtime cannot make it.
        """
        model = self._rounded(left_out)
        self._bias_correction.correct(model)
        return model

    def _rounded(self, left_out: Iterable[str]) -> ModelProto:
        kept = re.compile("|".join(GROUPS[group] for group in left_out) or r"(?!)")
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder, _without_advice():
            result = Path(folder, "int8.onnx")
            self._quantize_to(result, [name for name in self._nodes if not kept.match(name)])
            model = onnx.load(result)
        strip(model)
        return model

    def _quantize_to(self, result: Path, nodes: list[str]) -> None:
        try:
            quantize_static(
                self._graph,
                result,
                _Slices(self._slices()),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_WATCHED),
                nodes_to_quantize=nodes,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                use_external_data_format=True,
                extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},  # sums stay exact
                calibration_cache_path=self._ranges,
            )
        except (OSError, MemoryError):
            raise
        except Exception as error:  # its quantizer raises whatever comes
            advice = "Install the versions of constraints.txt, with which this was tested."
            raise ExportError(f"ONNX Runtime cannot quantize ({error})", advice) from error

    def _slices(self) -> Iterator[Floats]:
        return chain.from_iterable(part.slices for part in self.calibration)

    def largest_activation(self) -> float:
        """Return the largest absolute value that a calibration slice gave rise to.

        Of all that enters or leaves a matrix product, a convolution or a sum.

        Raises:
            ExportError: ONNX Runtime cannot look at the graph.
        """
        if not self._ranges.exists():
            self._rounded([])
        ranges = json.loads(self._ranges.read_text(encoding="utf-8"))["data"].values()
        return max(
            abs(value)
            for tensor in ranges
            for end in ("lowest", "highest")
            for value in tensor[end]["data"]
        )


def search(
    quantizer: Quantizer,
    judge: Callable[[ModelProto], Sequence[Parity]],
    on_trial: Callable[[QuantizationTrial], None],
) -> tuple[ModelProto, list[str], list[QuantizationTrial]]:
    """Find which groups to leave in float32: none, or as many of those that hurt most as needed.

    Args:
        quantizer: of the float32 graph.
        judge: measures how far it is from float32.
        on_trial: is told of each trial.

    Returns:
        The first graph well within INT8's bound, or else the truest; the groups left out of it;
        and all trials.
    """
    tried: list[_Tried] = []
    kept: list[ModelProto] = []  # the best so far; all of them would fill the memory

    def used_without(left_out: list[str]) -> float:
        model = quantizer.quantize(left_out)
        one = _Tried(left_out, judge(model))
        tried.append(one)
        if min(tried, key=_Tried.rank) is one:
            kept[:] = [model]
        on_trial(one.trial)
        return one.share_of_bound

    if used_without([]) > _WELL_WITHIN:
        harm = {group: used_without([g for g in GROUPS if g != group]) for group in GROUPS}
        by_harm = sorted(GROUPS, key=lambda group: -harm[group])
        for count in range(1, len(GROUPS) - 1):  # with one group left it was tried already
            if used_without(by_harm[:count]) <= _WELL_WITHIN:
                break
    return kept[0], min(tried, key=_Tried.rank).left_out, [one.trial for one in tried]


@dataclass(frozen=True)
class _Tried:
    left_out: list[str]
    measured: Sequence[Parity]

    @property
    def share_of_bound(self) -> float:
        return max(parity.share_of_bound for parity in self.measured)

    def rank(self) -> tuple[bool, float]:
        """Rank trials: well within the bound by how little is left out, the others by truth."""
        is_beyond = self.share_of_bound > _WELL_WITHIN
        return is_beyond, self.share_of_bound if is_beyond else len(self.left_out)

    @property
    def trial(self) -> QuantizationTrial:
        volume_percent = max(parity.volume_percent for parity in self.measured)
        return QuantizationTrial(
            left_out=self.left_out,
            mask_dice=min(parity.mask_dice for parity in self.measured),
            volume_percent=volume_percent if math.isfinite(volume_percent) else None,
        )


def _quantisable(graph: GraphProto) -> list[str]:
    """Return the names of all products and convolutions but two kinds.

    Those with tables of positions: ONNX Runtime refuses to run stacks of matrices with a scale
    per channel. Those of the image itself: eight bits are few for it, and they are cheap.
    """
    axes = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type in _QUANTIZED
        and not (node.op_type == "MatMul" and axes.get(node.input[1], 2) > 2)
        and INPUT_NAME not in node.input
    ]


class _Slices(CalibrationDataReader):  # type: ignore[misc]
    """Gives ONNX Runtime one slice at a time."""

    def __init__(self, slices: Iterator[Floats]) -> None:
        self._rest = slices

    def get_next(self) -> dict[str, Floats] | None:
        one = next(self._rest, None)
        return None if one is None else {INPUT_NAME: one[None]}


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keep ONNX Runtime from advising steps that the exporter has already done."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
