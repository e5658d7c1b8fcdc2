"""Bias correction: give the blocks of an INT8 encoder the same mean outputs as in float32.

Quantization shifts the channel means, later blocks amplify the shift, and the segmented lesions
grow or shrink. Each residual branch of the encoder is therefore executed on calibration slices, and
the shift of its channel means is subtracted from its last bias (empirical bias correction: Nagel et
al. 2019, arXiv:1906.04721).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, ModelProto, numpy_helper
from onnx.shape_inference import infer_shapes
from onnx.utils import Extractor
from onnxruntime import InferenceSession

from wmh_export.graphs.trace import INPUT_NAME
from wmh_runtime.types import Floats

_LAST_LAYERS = r"encoder\.blocks\.\d+\.(attn\.out|mlp\.lin2)/Add"  # of attention and of the MLP


@dataclass(frozen=True)
class _ResidualBranch:
    """Attention or MLP of a block, up to its addition to the residual stream."""

    bias: str  # tensor name of the bias of its last layer
    output: str  # tensor name of the residual stream after the addition, [N, tokens, C]


class BiasCorrection:
    """Corrects the biases of INT8 graphs that were quantized from one float32 graph.

    Args:
        graph: float32, one view, with its weights.
        slices: calibration slices, each [C, S, S]; channel means are over all their tokens.
    """

    def __init__(self, graph: ModelProto, slices: Sequence[Floats]) -> None:
        self._slices = slices
        self._branches = _residual_branches(graph.graph)
        self._means = [_channel_means(streams) for _, streams in self._run_branches(graph)]

    def correct(self, quantized: ModelProto) -> None:
        """Change the biases of a quantized graph, in place, to restore the float32 means.

        Branches are corrected in order, each from the already corrected stream before it.
        """
        tensors = {tensor.name: tensor for tensor in quantized.graph.initializer}
        for (branch, streams), mean in zip(self._run_branches(quantized), self._means, strict=True):
            shift = _channel_means(streams) - mean
            bias = tensors[branch.bias]
            corrected = numpy_helper.to_array(bias) - shift
            bias.CopyFrom(numpy_helper.from_array(corrected.astype(np.float32), branch.bias))
            for stream in streams:
                stream -= shift  # the effect of the new bias, for the next branch

    def _run_branches(self, model: ModelProto) -> Iterator[tuple[_ResidualBranch, list[Floats]]]:
        """Execute one branch after another on all slices, and yield the residual streams.

        The next branch starts from the yielded arrays, so the caller may change them in place.
        """
        extractor = Extractor(infer_shapes(model))
        start, streams = INPUT_NAME, [one[None] for one in self._slices]
        for branch in self._branches:
            # A branch may need the slices too, for their batch size.
            inputs = sorted({start, INPUT_NAME})
            subgraph = extractor.extract_model(inputs, [branch.output]).SerializeToString()
            session = InferenceSession(subgraph, providers=["CPUExecutionProvider"])
            streams = [
                session.run(None, {INPUT_NAME: one[None], start: stream})[0]
                for one, stream in zip(self._slices, streams, strict=True)
            ]
            yield branch, streams
            start = branch.output


def _residual_branches(graph: GraphProto) -> list[_ResidualBranch]:
    weights = {tensor.name for tensor in graph.initializer}
    addition_of = {
        name: node for node in graph.node if node.op_type == "Add" for name in node.input
    }
    return [
        _ResidualBranch(
            bias=next(name for name in layer.input if name in weights),
            output=addition_of[layer.output[0]].output[0],
        )
        for layer in graph.node
        if re.fullmatch(_LAST_LAYERS, layer.name)
    ]


def _channel_means(streams: list[Floats]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    channels = streams[0].shape[-1]
    by_slice = [stream.reshape(-1, channels).mean(axis=0, dtype=np.float64) for stream in streams]
    mean: np.ndarray[tuple[int], np.dtype[np.float64]] = np.mean(by_slice, axis=0)
    return mean
