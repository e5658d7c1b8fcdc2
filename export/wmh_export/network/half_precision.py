"""A float16 copy of the network in which overflow-prone layers compute in float32.

The types are in the traced graph itself, as strongly typed engines require. Weights and matrix
products are float16. LayerNorm and softmax compute in float32, because squares and exponentials
overflow float16. The adapter, the patch embedding and the neck compute in float32 too, and the
first and last convolution of a U-Net: they are few percent of the arithmetic, and their rounding
errors change the masks most. Input slices and output probabilities are float32.
"""

from __future__ import annotations

import copy

import onnx
import torch
from onnx import ModelProto, TensorProto
from torch import Tensor, nn

from wmh_runtime.errors import ExportError
from wmh_train.model.convolutional.convolutional_network import ConvolutionalNetwork
from wmh_train.model.decoder import Logits
from wmh_train.model.network import WmhNetwork

FLOAT16_MAX = 65504.0
_FLOAT32_MODULES = ("encoder.patch_embed", "encoder.neck")
# Normalizations, softmax and sigmoid, and the operators into which an exporter may decompose them.
_FLOAT32_OPERATORS = (
    *("LayerNormalization", "InstanceNormalization", "Softmax", "LogSoftmax", "Sigmoid"),
    *("ReduceMean", "ReduceSum", "ReduceSumSquare", "Pow", "Sqrt", "Reciprocal", "Exp"),
)


class HalfPrecisionNetwork(nn.Module):
    """Probability of a float16 network: float32 [N, C, S, S] to float32 [N, K, S, S]."""

    def __init__(self, network: WmhNetwork) -> None:
        super().__init__()
        self.network = to_half_precision(network)

    def forward(self, image: Tensor) -> Tensor:
        """Compute the probability of one view."""
        logits: Logits
        if isinstance(self.network, ConvolutionalNetwork):
            logits = self.network(image)
        else:
            features = self.network.encoder(self.network.adapter(image))
            logits = self.network.decoder(features, image.half())
        return torch.sigmoid(logits.fused.float())


def to_half_precision(network: WmhNetwork) -> WmhNetwork:
    """Return a float16 copy of a merged network, with float32 layers where float16 overflows.

    The first layer of the copy takes the image in float32.
    """
    half = copy.deepcopy(network).half()
    if isinstance(network, ConvolutionalNetwork):
        first, last = network.first_layer, network.last_layer
        half.set_submodule(first, _Float32(network.get_submodule(first)))
        half.set_submodule(last, _Float32(network.get_submodule(last), returns=torch.float32))
        return half
    norms = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.LayerNorm) and not name.startswith(_FLOAT32_MODULES)
    ]
    half.adapter = copy.deepcopy(network.adapter)
    for name in (*_FLOAT32_MODULES, *norms):
        half.set_submodule(name, _Float32(network.get_submodule(name)))
    return half


class _Float32(nn.Module):
    """Runs a module of a float16 network in float32."""

    def __init__(self, original: nn.Module, *, returns: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.returns = returns
        self.exact = copy.deepcopy(original)  # the name is part of the graph's bytes

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.exact(features.float())
        return output.to(self.returns)


def require_float32_operators(model: ModelProto) -> None:
    """Refuse a float16 graph that computes LayerNorm, softmax or sigmoid in float16.

    The parity check on a CPU cannot find this: CPUs emulate float16 in float32, without overflow.

    Raises:
        ExportError: such an operator takes float16.
    """
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    for node in inferred.node:
        if node.op_type in _FLOAT32_OPERATORS and types[node.input[0]] != TensorProto.FLOAT:
            raise ExportError(
                f"{node.name} computes in float16 and may overflow", "Please report this."
            )


def require_float16_range(largest_activation: float) -> None:
    """Refuse float16 if the activations of the float32 network are too large for it.

    Args:
        largest_activation: largest absolute activation, measured in float32.

    Raises:
        ExportError: it is more than half of the largest float16 value.
    """
    if not largest_activation <= FLOAT16_MAX / 2:
        raise ExportError(
            f"activations reach {largest_activation:.0f}, the largest float16 value is"
            f" {FLOAT16_MAX:.0f}",
            "Use FP32, BF16 or INT8.",
        )
