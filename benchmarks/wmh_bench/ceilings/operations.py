"""Count the operators and the floating-point operations of an ONNX graph."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from wmh_runtime.errors import BundleError

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]
_CountFlop = Callable[["onnx.NodeProto", "_Shapes"], int]


def count_operators(path: Path) -> dict[str, int]:
    """Count the operators of a graph by name, without reading its weights."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return dict(sorted(Counter(node.op_type for node in graph.node).items()))


def flop_per_slice(path: Path) -> int:
    """Count the floating-point operations of matrix multiplications and convolutions.

    The product of [M, K] and [K, N] counts 2 · M · K · N, as in PyTorch's FlopCounterMode.
    Elementwise operations (normalization, softmax, activations) are not counted.

    Args:
        path: of an ONNX graph with a dynamic batch size.

    Raises:
        BundleError: the shape of a tensor cannot be inferred.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 1
    shapes = _Shapes(onnx.shape_inference.infer_shapes(model, data_prop=True).graph, path)
    return sum(
        _FLOP_OF_OPERATOR[node.op_type](node, shapes)
        for node in model.graph.node
        if node.op_type in _FLOP_OF_OPERATOR
    )


class _Shapes:
    """The shapes of the tensors of a graph, by name."""

    def __init__(self, graph: onnx.GraphProto, path: Path) -> None:
        self._path = path
        self._known: dict[str, Shape] = {one.name: tuple(one.dims) for one in graph.initializer}
        for one in (*graph.input, *graph.value_info, *graph.output):
            self._known[one.name] = tuple(d.dim_value for d in one.type.tensor_type.shape.dim)

    def __getitem__(self, name: str) -> Shape:
        shape = self._known.get(name, (0,))
        if 0 in shape:
            problem = f"the shape of {name} cannot be inferred"
            raise BundleError(problem, "Export the bundle again.", about=self._path)
        return shape


def _matmul_flop(node: onnx.NodeProto, shapes: _Shapes) -> int:
    return 2 * math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _gemm_flop(node: onnx.NodeProto, shapes: _Shapes) -> int:
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return 2 * math.prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if transposed else 1]


def _convolution_flop(node: onnx.NodeProto, shapes: _Shapes) -> int:
    _, *per_output = shapes[node.input[1]]  # [out, in / groups, kernel…]
    return 2 * math.prod(shapes[node.output[0]]) * math.prod(per_output)


def _transposed_convolution_flop(node: onnx.NodeProto, shapes: _Shapes) -> int:
    _, *per_input = shapes[node.input[1]]  # [in, out / groups, kernel…]
    return 2 * math.prod(shapes[node.input[0]]) * math.prod(per_input)


_FLOP_OF_OPERATOR: dict[str, _CountFlop] = {
    "MatMul": _matmul_flop,
    "Gemm": _gemm_flop,
    "Conv": _convolution_flop,
    "ConvTranspose": _transposed_convolution_flop,
}
