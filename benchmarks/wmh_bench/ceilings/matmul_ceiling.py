"""Ceilings: what a backend reaches on large matrix products, in each of its precisions.

A chain of products, written as the graphs of a bundle are, is executed by the very backend that
executes the network; so the ceiling has what the machine, the library and the precision allow, and
nothing is guessed of a device that no table lists.
"""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wmh_bench.timing.batch_times import batches_per_s, time_alone
from wmh_bench.timing.timing_device import Marks, timing
from wmh_export.engines.compiler import compile_graph
from wmh_runtime.backends.base import Backend
from wmh_runtime.backends.gpu.driver import device_type
from wmh_runtime.backends.onnxruntime_gpu import CudaProviderBackend
from wmh_runtime.backends.registry import CPU_BACKENDS, ENGINE_KINDS
from wmh_runtime.backends.tensorrt_engine import EngineBackend
from wmh_runtime.backends.tensorrt_library import TensorRtLibrary, load_tensorrt
from wmh_runtime.bundle.manifest import BatchProfile
from wmh_runtime.precision import WRITTEN_AS, GraphPrecision, Precision
from wmh_runtime.schema import StrictModel
from wmh_runtime.types import NetworkShape

# Of the matrices; and as many products a batch as make copies and checks of it small.
_SIDE, _SIDE_ON_GPUS = 2048, 8192
_FEWEST_PRODUCTS, _BATCH_S = 8, 0.3
_LEAST_S = 1.0
_LEVELS = 127  # of INT8, on each side of zero
_SPREAD = 4.0  # standard deviations that INT8 spans
_FLOAT16, _FLOAT32 = 10, 1  # ONNX's numbers of its types
_ON_PROCESSORS = {kind.name: kind for kind in CPU_BACKENDS}
# What multiplies matrices; TensorRT's provider, which would build an engine first, does not.
MULTIPLIERS = (*_ON_PROCESSORS, CudaProviderBackend.name, *ENGINE_KINDS)
# What a precision is compared with, if not with products of its own.
_COMPARED_WITH: dict[Precision, Precision] = {"int8+bf16": "int8"}


def compared_with(precision: Precision) -> Precision:
    """Return the precision whose products a precision is compared with."""
    return _COMPARED_WITH.get(precision, precision)


class Ceiling(StrictModel):
    """What a backend reaches on matrix products."""

    backend: str
    device: str = Field(description="as of the rows that it is compared with")
    precision: Precision
    side: int = Field(description="of the square matrices")
    products: int = Field(description="one behind the other in a batch")
    tflop_per_s: float


def measure_ceiling(name: str, precision: Precision, threads: int | None, gpu: int) -> Ceiling:
    """Measure what a backend reaches on matrix products.

    Args:
        name: of the backend, one of `MULTIPLIERS`.
        precision: of the products.
        threads: of processors; None: one a core.
        gpu: its number.

    Raises:
        BackendError: the backend is not here, or refuses them.
        ExportError: an engine of them cannot be built for this GPU.
    """
    marks = Marks()
    make = _maker(name, precision, threads, gpu, marks)
    side = _SIDE if name in _ON_PROCESSORS else _SIDE_ON_GPUS
    square = np.random.default_rng(1).normal(size=(1, side, side)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:

        def written(count: int) -> Backend:
            path = Path(folder) / f"{count}.onnx"
            shape = write_products(path, WRITTEN_AS[precision], side, count)
            return make(path, shape)

        with written(_FEWEST_PRODUCTS) as probe:
            probe.execute([square])
            started = time.perf_counter()
            probe.execute([square])
            probe_s = time.perf_counter() - started
        count = _FEWEST_PRODUCTS * max(1, math.ceil(_BATCH_S / probe_s))
        with written(count) as backend:
            _, parts = time_alone(backend, [square], marks, _LEAST_S)
            per_s = (
                batches_per_s(backend, itertools.repeat([square]), _LEAST_S)
                if parts is None
                else 1e3 / parts.compute_ms
            )
    return Ceiling(
        backend=name,
        device=backend.device,
        precision=precision,
        side=side,
        products=count,
        tflop_per_s=round(2 * side**3 * count * per_s / 1e12, 4),
    )


def _maker(
    name: str, precision: Precision, threads: int | None, gpu: int, marks: Marks
) -> Callable[[Path, NetworkShape], Backend]:
    """Return what makes a backend of a graph; what is not here is refused before one is written."""
    on_processor = _ON_PROCESSORS.get(name)
    if on_processor is not None:
        on_processor.require_installed()
        return lambda path, shape: on_processor(path, shape, precision=precision, threads=threads)
    for engine in ENGINE_KINDS:
        if engine == name:
            return _engine_maker(load_tensorrt(engine), precision, gpu, marks)
    CudaProviderBackend.require_installed()
    driver = timing(device_type(), marks)
    driver.gpu_by_index(gpu)
    return lambda path, shape: CudaProviderBackend(
        path, shape, driver, number=gpu, precision=precision
    )


def _engine_maker(
    toolkit: TensorRtLibrary, precision: Precision, gpu: int, marks: Marks
) -> Callable[[Path, NetworkShape], Backend]:
    """Return what compiles a graph for the GPU at hand."""
    driver = timing(device_type(), marks)
    here = driver.gpu_by_index(gpu)

    def make(path: Path, shape: NetworkShape) -> Backend:
        one = BatchProfile(least=1, best=1, most=1)
        compiled = (
            compile_graph(toolkit, path, one, shape.slice_in, targets=[here.target])
            if toolkit.kind == "rtx"
            else compile_graph(toolkit, path, one, shape.slice_in, gpu=here)
        )
        plan = path.with_name(f"products-{shape.size_px}-{path.stem}.engine")
        plan.write_bytes(compiled.plan)
        return EngineBackend(plan, toolkit, driver, shape, number=gpu, precision=precision)

    return make


def write_products(path: Path, precision: GraphPrecision, side: int, count: int) -> NetworkShape:
    """Write a graph that multiplies a square by the same matrix again and again.

    The matrix is random, with entries of variance 1 / side, so that a product is as large as what
    went in. float32 goes in and comes out, as of any graph of a bundle.

    Args:
        path: of the graph.
        precision: of the products.
        side: of the squares.
        count: of products.

    Returns:
        The shape of the graph: a slice of one channel and one output.
    """
    import onnx
    from onnx import numpy_helper, parser

    matrix = np.random.default_rng(0).normal(0, side**-0.5, (side, side)).astype(np.float32)
    constants: dict[str, NDArray[Any]] = {"matrix": matrix}
    cast_in = cast_out = "Identity"
    product = "x{next} = MatMul(x{this}, matrix)"
    once = ""
    if precision == "fp16":
        constants["matrix"] = matrix.astype(np.float16)
        cast_in, cast_out = f"Cast<to={_FLOAT16}>", f"Cast<to={_FLOAT32}>"
    if precision == "int8":  # as the graphs of a bundle: activations unsigned, weights signed
        weight_scale = _SPREAD * side**-0.5 / _LEVELS
        levels = np.clip(np.rint(matrix / weight_scale), -_LEVELS, _LEVELS)
        constants = {
            "levels": levels.astype(np.int8),
            "weight_scale": np.array(weight_scale, np.float32),
            "weight_zero": np.array(0, np.int8),
            "scale": np.array(_SPREAD / _LEVELS, np.float32),
            "zero": np.array(_LEVELS + 1, np.uint8),
        }
        once = "matrix = DequantizeLinear(levels, weight_scale, weight_zero)"
        product = (
            "q{this} = QuantizeLinear(x{this}, scale, zero)\n"
            "d{this} = DequantizeLinear(q{this}, scale, zero)\n"
            "x{next} = MatMul(d{this}, matrix)"
        )
    lines = [
        '<ir_version: 10, opset_import: ["" : 20]>',
        f"products (float[N, 1, {side}, {side}] slices)"
        f" => (float[N, 1, {side}, {side}] probability) {{",
        once,
        f"x0 = {cast_in}(slices)",
        *(product.format(this=i, next=i + 1) for i in range(count)),
        f"probability = {cast_out}(x{count})",
        "}",
    ]
    model = parser.parse_model("\n".join(lines))
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    onnx.save_model(model, path)
    return NetworkShape(channels=1, outputs=1, size_px=side)
