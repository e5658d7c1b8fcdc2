"""What a graph computes: its operators, and their multiplications and additions."""

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
_Count = Callable[["onnx.NodeProto", "_Shapes"], int]


def operators_of(path: Path) -> dict[str, int]:
    """Count the operators of a graph by their names, without reading its weights."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return dict(sorted(Counter(node.op_type for node in graph.node).items()))


def flop_a_slice(path: Path) -> int:
    """Count the multiplications and additions of products and convolutions, for one slice.

    A product of [M, K] and [K, N] counts 2 · M · K · N, as PyTorch's FlopCounterMode has it; what
    is done once for each element (normalization, softmax, activations) is not counted.

    Args:
        path: of an ONNX graph with a dynamic number of slices.

    Raises:
        BundleError: the shape of a product cannot be inferred.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    for given in (*model.graph.input, *model.graph.output):
        given.type.tensor_type.shape.dim[0].dim_value = 1
    shapes = _Shapes(onnx.shape_inference.infer_shapes(model, data_prop=True).graph, path)
    return sum(_COUNTED[node.op_type](node, shapes) for node in model.graph.node if _counts(node))


def _counts(node: onnx.NodeProto) -> bool:
    return node.op_type in _COUNTED


class _Shapes:
    """The shapes of a graph's tensors, by their names."""

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


def _of_product(node: onnx.NodeProto, shapes: _Shapes) -> int:
    return 2 * math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _of_gemm(node: onnx.NodeProto, shapes: _Shapes) -> int:
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return 2 * math.prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if transposed else 1]


def _of_convolution(node: onnx.NodeProto, shapes: _Shapes) -> int:
    _, *of_each_output = shapes[node.input[1]]  # [out, in / groups, kernel…]
    return 2 * math.prod(shapes[node.output[0]]) * math.prod(of_each_output)


def _of_transposed_convolution(node: onnx.NodeProto, shapes: _Shapes) -> int:
    _, *of_each_input = shapes[node.input[1]]  # [in, out / groups, kernel…]
    return 2 * math.prod(shapes[node.input[0]]) * math.prod(of_each_input)


_COUNTED: dict[str, _Count] = {
    "MatMul": _of_product,
    "Gemm": _of_gemm,
    "Conv": _of_convolution,
    "ConvTranspose": _of_transposed_convolution,
}
