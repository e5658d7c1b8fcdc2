"""A network in half precision by construction: what needs float32 computes in float32.

The graph traced from it carries its own types, as strongly typed engines want it. Weights and
products are float16. LayerNorm and softmax compute in float32, since squares and exponentials
overflow float16; so do both ends of the encoder, what it makes of the image and its neck, which
cost a hundredth of the products and are where rounding is seen most in the masks. Slices come and
probabilities go in float32.
"""

from __future__ import annotations

import copy

import onnx
import torch
from onnx import ModelProto, TensorProto
from torch import Tensor, nn

from wmh_runtime.errors import ExportError
from wmh_train.model.decoder import Logits
from wmh_train.model.network import WmhNetwork

FLOAT16_MAX = 65504.0
_WHOLE = ("encoder.patch_embed", "encoder.neck")
# Norms, softmax, and what they come apart to where an exporter has no operator for them.
_IN_FLOAT32 = (
    *("LayerNormalization", "InstanceNormalization", "Softmax", "LogSoftmax", "Sigmoid"),
    *("ReduceMean", "ReduceSum", "ReduceSumSquare", "Pow", "Sqrt", "Reciprocal", "Exp"),
)


class HalfView(nn.Module):
    """The probability of a float16 network, float32 [N, C, S, S] to float32 [N, K, S, S]."""

    def __init__(self, network: WmhNetwork) -> None:
        super().__init__()
        self.network = to_half(network)

    def forward(self, image: Tensor) -> Tensor:
        """Look at the slices as they are."""
        features = self.network.encoder(self.network.adapter(image))
        logits: Logits = self.network.decoder(features, image.half())
        return torch.sigmoid(logits.fused.float())


def to_half(network: WmhNetwork) -> WmhNetwork:
    """Return a float16 copy of a merged network, float32 where it has to be.

    Its adapter takes the image in float32.
    """
    half = copy.deepcopy(network).half()
    norms = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.LayerNorm) and not name.startswith(_WHOLE)
    ]
    half.adapter = copy.deepcopy(network.adapter)
    for name in (*_WHOLE, *norms):
        half.set_submodule(name, _Float32(network.get_submodule(name)))
    return half


class _Float32(nn.Module):
    """A part of a half network that computes in float32."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.exact = copy.deepcopy(original)

    def forward(self, features: Tensor) -> Tensor:
        given: Tensor = self.exact(features.float())
        return given.half()


def require_float32_inside(model: ModelProto) -> None:
    """Refuse a half-precision graph with a LayerNorm, softmax or sigmoid in float16.

    CPUs emulate float16 in wider arithmetic and would hide it.

    Raises:
        ExportError: there is one.
    """
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    for node in inferred.node:
        if node.op_type in _IN_FLOAT32 and types[node.input[0]] != TensorProto.FLOAT:
            raise ExportError(
                f"{node.name} computes in float16, where its squares or exponentials overflow",
                "Please report this.",
            )


def require_headroom(largest_activation: float) -> None:
    """Refuse half precision where the float32 network goes beyond what float16 holds.

    Args:
        largest_activation: absolute, seen in float32.

    Raises:
        ExportError: it is more than half of what float16 holds.
    """
    if not largest_activation <= FLOAT16_MAX / 2:
        raise ExportError(
            f"activations reach {largest_activation:.0f}, float16 ends at {FLOAT16_MAX:.0f}",
            "Use FP32, BF16 or INT8.",
        )
