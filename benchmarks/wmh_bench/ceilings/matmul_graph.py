"""Write an ONNX graph of large matrix multiplications."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.precision import GraphPrecision
from wmh_runtime.types import NetworkShape

_INT8_LEVELS = 127  # on each side of zero
_INT8_RANGE = 4.0  # standard deviations that the levels span, on each side
_FLOAT16, _FLOAT32 = 10, 1  # ONNX type numbers


def write_matmul_graph(
    path: Path, precision: GraphPrecision, size: int, count: int
) -> NetworkShape:
    """Write a graph that multiplies a square matrix by a constant matrix several times.

    The entries of the constant matrix are random with variance 1 / size, so values keep their
    magnitude. Input and output are float32, as in every graph of a bundle.

    Args:
        path: of the graph.
        precision: of the multiplications.
        size: of the square matrices.
        count: number of multiplications.

    Returns:
        The shape of the graph: slices of one channel and one output.
    """
    import onnx
    from onnx import numpy_helper, parser

    matrix = np.random.default_rng(0).normal(0, size**-0.5, (size, size)).astype(np.float32)
    constants: dict[str, NDArray[Any]] = {"matrix": matrix}
    cast_in = cast_out = "Identity"
    multiply = "x{next} = MatMul(x{this}, matrix)"
    dequantize_matrix = ""
    if precision == "fp16":
        constants["matrix"] = matrix.astype(np.float16)
        cast_in, cast_out = f"Cast<to={_FLOAT16}>", f"Cast<to={_FLOAT32}>"
    if precision == "int8":  # as in the graphs of a bundle: unsigned activations, signed weights
        weight_scale = _INT8_RANGE * size**-0.5 / _INT8_LEVELS
        levels = np.clip(np.rint(matrix / weight_scale), -_INT8_LEVELS, _INT8_LEVELS)
        constants = {
            "levels": levels.astype(np.int8),
            "weight_scale": np.array(weight_scale, np.float32),
            "weight_zero": np.array(0, np.int8),
            "scale": np.array(_INT8_RANGE / _INT8_LEVELS, np.float32),
            "zero": np.array(_INT8_LEVELS + 1, np.uint8),
        }
        dequantize_matrix = "matrix = DequantizeLinear(levels, weight_scale, weight_zero)"
        multiply = (
            "q{this} = QuantizeLinear(x{this}, scale, zero)\n"
            "d{this} = DequantizeLinear(q{this}, scale, zero)\n"
            "x{next} = MatMul(d{this}, matrix)"
        )
    lines = [
        '<ir_version: 10, opset_import: ["" : 20]>',
        f"products (float[N, 1, {size}, {size}] slices)"
        f" => (float[N, 1, {size}, {size}] probability) {{",
        dequantize_matrix,
        f"x0 = {cast_in}(slices)",
        *(multiply.format(this=i, next=i + 1) for i in range(count)),
        f"probability = {cast_out}(x{count})",
        "}",
    ]
    model = parser.parse_model("\n".join(lines))
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    onnx.save_model(model, path)
    return NetworkShape(channels=1, outputs=1, size_px=size)
