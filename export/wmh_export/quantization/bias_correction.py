"""Bias correction: what the blocks of an INT8 encoder add is on average what they add in float32.

Rounding shifts the means of channels, the blocks that follow amplify the shift, and lesions swell
or shrink with it. So part after part of the encoder is executed on calibration slices, and the
shift that it ends with is taken off the bias just before (empirical bias correction: Nagel et al.
2019, arXiv:1906.04721).
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
class _Part:
    """A part of the encoder, from one sum of the residual stream to the next."""

    bias: str  # added last, to all positions alike
    stream: str  # the sum that it ends with, [N, tokens, C]


class BiasCorrection:
    """Corrects INT8 graphs of one float32 graph.

    Args:
        graph: float32, one view, weights inside.
        slices: each [C, S, S]; the means are over all their positions.
    """

    def __init__(self, graph: ModelProto, slices: Sequence[Floats]) -> None:
        self._slices = slices
        self._parts = _parts(graph.graph)
        self._means = [_channel_means(streams) for _, streams in self._executed(graph)]

    def correct(self, quantized: ModelProto) -> None:
        """Change the biases, in place, so that all means are as in float32."""
        tensors = {tensor.name: tensor for tensor in quantized.graph.initializer}
        for (part, streams), mean in zip(self._executed(quantized), self._means, strict=True):
            shift = _channel_means(streams) - mean
            bias = tensors[part.bias]
            corrected = numpy_helper.to_array(bias) - shift
            bias.CopyFrom(numpy_helper.from_array(corrected.astype(np.float32), part.bias))
            for stream in streams:
                stream -= shift  # as with the new bias: the next part starts from it

    def _executed(self, model: ModelProto) -> Iterator[tuple[_Part, list[Floats]]]:
        """Execute part after part on all slices, each from the streams as the caller left them."""
        extractor = Extractor(infer_shapes(model))
        begin, streams = INPUT_NAME, [one[None] for one in self._slices]
        for part in self._parts:
            # Every part may ask the slices how many they are.
            given = sorted({begin, INPUT_NAME})
            cut_out = extractor.extract_model(given, [part.stream]).SerializeToString()
            session = InferenceSession(cut_out, providers=["CPUExecutionProvider"])
            streams = [
                session.run(None, {INPUT_NAME: one[None], begin: stream})[0]
                for one, stream in zip(self._slices, streams, strict=True)
            ]
            yield part, streams
            begin = part.stream


def _parts(graph: GraphProto) -> list[_Part]:
    weights = {tensor.name for tensor in graph.initializer}
    sum_with = {name: node for node in graph.node if node.op_type == "Add" for name in node.input}
    return [
        _Part(
            bias=next(name for name in layer.input if name in weights),
            stream=sum_with[layer.output[0]].output[0],
        )
        for layer in graph.node
        if re.fullmatch(_LAST_LAYERS, layer.name)
    ]


def _channel_means(streams: list[Floats]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    channels = streams[0].shape[-1]
    of_slices = [stream.reshape(-1, channels).mean(axis=0, dtype=np.float64) for stream in streams]
    mean: np.ndarray[tuple[int], np.dtype[np.float64]] = np.mean(of_slices, axis=0)
    return mean
