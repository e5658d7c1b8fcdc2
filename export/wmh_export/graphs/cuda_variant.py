"""Graphs for the CUDA provider of ONNX Runtime alone: check them, and compare them without a GPU.

The provider runs some operators on the CPU. Then tensors are copied, and a CUDA graph cannot
capture the whole. `require_cuda_operators` finds them before anybody has a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from wmh_runtime.errors import ExportError

# The operators of our networks that the CUDA provider of ONNX Runtime has kernels for, in float16
# and in float32, with the operator version of the kernel. Source: docs/OperatorKernels.md of ONNX
# Runtime, September 2026. A kernel of an older version is not used: Pad is missing for that reason.
# Mean has no kernel. Shape, and what takes its result, is placed on the CPU.
CUDA_OPERATORS = {
    "": {
        **dict.fromkeys(["Add", "Mul", "Relu"], 14),
        **dict.fromkeys(["Cast", "Reshape", "Resize"], 19),
        **dict.fromkeys(["Concat", "DepthToSpace", "Gather", "MatMul", "Sigmoid", "Slice"], 13),
        **dict.fromkeys(["Squeeze", "Sum", "Transpose", "Unsqueeze"], 13),
        **dict.fromkeys(["Conv", "ConvTranspose"], 11),
        **{"Gelu": 20, "InstanceNormalization": 6, "LayerNormalization": 17, "LeakyRelu": 16},
        **{"MaxPool": 12, "Split": 18},
    },
    "com.microsoft": dict.fromkeys(["BiasGelu", "MultiHeadAttention", "SkipLayerNormalization"], 1),
}
_SIZES = 3  # which input of a Resize is the size of its output
_UNUSED_OUTPUTS = {"SkipLayerNormalization": (1, 2)}  # mean and deviation: the kernel has neither


def drop_unused_outputs(model: ModelProto) -> None:
    """Remove outputs that an operator may leave out and that its CUDA kernel does not compute."""
    for node in model.graph.node:
        for index in _UNUSED_OUTPUTS.get(node.op_type, ()):
            node.output[index] = ""


def scale_by_constants(model: ModelProto) -> None:
    """Give constant factors to each Resize, instead of a size that is made from a shape.

    The nodes that made the sizes are removed.

    Raises:
        ExportError: ONNX Runtime, which rounds down, would give another size.
    """
    graph = model.graph
    sides = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim[2:]]
        for value in graph.value_info
    }
    for node in graph.node:
        if node.op_type != "Resize" or len(node.input) < _SIZES + 1:
            continue
        before, after = sides[node.input[0]], sides[node.output[0]]
        factors = np.divide([1, 1, *after], [1, 1, *before], dtype=np.float32)
        if not np.array_equal(np.floor(np.array(before, np.float32) * factors[2:]), after):
            problem = f"{node.name} enlarges {before} to {after}, which no factor does exactly"
            raise ExportError(problem, "Please report this.")
        scales = numpy_helper.from_array(factors, f"{node.name}/scales")
        graph.initializer.append(scales)
        node.input[:] = [node.input[0], "", scales.name]
    while unused := _unused(graph):
        for node in unused:
            graph.node.remove(node)
    used = _used(graph)
    for tensor in [one for one in graph.initializer if one.name not in used]:
        graph.initializer.remove(tensor)


def _unused(graph: GraphProto) -> list[NodeProto]:
    used = _used(graph)
    return [node for node in graph.node if not used.intersection(node.output)]


def _used(graph: GraphProto) -> set[str]:
    """Return the names of the tensors that a node takes or the graph returns."""
    names = {name for node in graph.node for name in node.input}
    return names | {output.name for output in graph.output}


def require_cuda_operators(model: ModelProto) -> None:
    """Refuse a graph with an operator that would run on the CPU.

    Raises:
        ExportError: there is one.
    """
    opsets = {imported.domain: imported.version for imported in model.opset_import}
    others = sorted(
        {
            node.op_type
            for node in model.graph.node
            if CUDA_OPERATORS[node.domain].get(node.op_type) != _version(node, opsets)
        }
    )
    if others:
        raise ExportError(
            f"{', '.join(others)} would run on the CPU with ONNX Runtime",
            "Other backends run the other graphs.",
        )


def _version(node: NodeProto, opsets: Mapping[str, int]) -> int:
    """Return the version of an operator in an operator set."""
    if node.domain:
        return opsets[node.domain]
    return onnx.defs.get_schema(node.op_type, opsets[""]).since_version


def widened(model: ModelProto) -> ModelProto:
    """Return a float16 graph in float32: the same nodes, and weights with the values of float16.

    ONNX Runtime has no MultiHeadAttention in float16 on CPUs. This graph can be executed there. Its
    activations are not rounded, so it proves the structure and the weights, not the rounding.
    """
    wide = ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(_in_float32(tensor))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
            elif attribute.t.data_type == TensorProto.FLOAT16:
                attribute.t.CopyFrom(_in_float32(attribute.t))
    del graph.value_info[:]
    return wide


def _in_float32(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
