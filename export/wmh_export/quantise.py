"""INT8 for CPUs: a QDQ graph with static scales, all but the groups of layers that it hurts.

Scales come from calibration slices, once, so that the result of a slice does not depend on others
of its batch. Which groups stay in float32 is found by measurement and recorded.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from wmh_export.graph import INPUT_NAME, strip
from wmh_runtime.manifest import QuantisationTrial
from wmh_runtime.parity import BOUNDS
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
_QUANTISED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
_SHARE = 0.5  # of the bound that the search may use up: other slices differ more
_WATCHED = (*_QUANTISED, "Add")


class Quantiser:
    """Makes INT8 graphs of one float32 graph; its activations are looked at once.

    Args:
        graph: the .onnx file, float32, of one view.
        slices: to calibrate on, float32 [N, C, S, S].
        scratch: folder for passing files.
    """

    def __init__(self, graph: Path, slices: Floats, scratch: Path) -> None:
        self._nodes = _quantisable(onnx.load(graph, load_external_data=False).graph)
        self._graph = graph
        self._slices = slices
        self._scratch = scratch
        self._ranges = scratch / "ranges.json"

    def quantise(self, left_out: Iterable[str]) -> ModelProto:
        """Return a QDQ graph of one view, int8 but for some groups of layers."""
        kept = re.compile("|".join(GROUPS[group] for group in left_out) or r"(?!)")
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder, _without_advice():
            result = Path(folder, "int8.onnx")
            quantize_static(
                self._graph,
                result,
                _Slices(self._slices),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_WATCHED),
                nodes_to_quantize=[name for name in self._nodes if not kept.match(name)],
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                use_external_data_format=True,
                calibration_cache_path=self._ranges,
            )
            model = onnx.load(result)
        strip(model)
        return model

    def largest_activation(self) -> float:
        """Return the largest absolute value that a calibration slice gave rise to.

        Of all that enters or leaves a matrix product, a convolution or a sum; known after the
        first graph.
        """
        ranges = json.loads(self._ranges.read_text(encoding="utf-8"))["data"].values()
        return max(
            abs(value)
            for tensor in ranges
            for end in ("lowest", "highest")
            for value in tensor[end]["data"]
        )


def search(
    quantiser: Quantiser,
    judge: Callable[[ModelProto], tuple[float, float]],
    on_trial: Callable[[QuantisationTrial], None],
) -> tuple[ModelProto, list[QuantisationTrial]]:
    """Find which groups to leave in float32: none, one of them, or the several that hurt most.

    Args:
        quantiser: of the float32 graph.
        judge: gives mask Dice with float32, and the difference of volume in per cent.
        on_trial: is told of each trial.

    Returns:
        The first graph well within INT8's bound, or the last one, and all trials; the last is
        its own.
    """
    trials: list[QuantisationTrial] = []

    def try_without(left_out: list[str]) -> ModelProto:
        model = quantiser.quantise(left_out)
        mask_dice, volume_percent = judge(model)
        trials.append(
            QuantisationTrial(left_out=left_out, mask_dice=mask_dice, volume_percent=volume_percent)
        )
        on_trial(trials[-1])
        return model

    model = try_without([])
    if _is_within(trials[-1]):
        return model, trials
    for group in GROUPS:
        model = try_without([group])
        if _is_within(trials[-1]):
            return model, trials
    harm = {trial.left_out[0]: trial.mask_dice for trial in trials[1:]}
    by_harm = sorted(GROUPS, key=lambda group: -harm[group])
    for count in range(2, len(GROUPS)):
        model = try_without(by_harm[:count])
        if _is_within(trials[-1]):
            break
    return model, trials


def _is_within(trial: QuantisationTrial) -> bool:
    bound = BOUNDS["int8"]
    return (
        1 - trial.mask_dice <= _SHARE * (1 - bound.mask_dice)
        and trial.volume_percent <= _SHARE * bound.volume_percent
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
        if node.op_type in _QUANTISED
        and not (node.op_type == "MatMul" and axes.get(node.input[1], 2) > 2)
        and INPUT_NAME not in node.input
    ]


class _Slices(CalibrationDataReader):  # type: ignore[misc]
    """Gives ONNX Runtime one slice at a time."""

    def __init__(self, slices: Floats) -> None:
        self._rest: Iterator[Floats] = iter(slices)

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
