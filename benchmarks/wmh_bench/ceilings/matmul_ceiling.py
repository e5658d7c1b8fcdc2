"""The matmul ceiling: how fast a backend multiplies large matrices, in each of its precisions.

The backend that executes the network also executes a graph of matrix multiplications. So the
ceiling includes the limits of machine, library and precision, also for devices whose peak speed is
not known.
"""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import Field

from wmh_bench.ceilings.matmul_graph import write_matmul_graph
from wmh_bench.timing.batch_times import batches_per_second, time_single_batches
from wmh_bench.timing.gpu_timer import GpuTimer, timed_driver
from wmh_export.engines.compiler import compile_graph
from wmh_runtime.backends.base import Backend
from wmh_runtime.backends.gpu.driver import device_type
from wmh_runtime.backends.onnxruntime_gpu import CudaProviderBackend
from wmh_runtime.backends.registry import CPU_BACKENDS, ENGINE_KINDS
from wmh_runtime.backends.tensorrt_engine import EngineBackend
from wmh_runtime.backends.tensorrt_library import TensorRtLibrary, load_tensorrt
from wmh_runtime.bundle.manifest import BatchProfile
from wmh_runtime.precision import STORED_PRECISION, Precision
from wmh_runtime.schema import StrictModel
from wmh_runtime.types import NetworkShape

_CPU_MATRIX_SIZE, _GPU_MATRIX_SIZE = 2048, 8192
# A batch lasts _BATCH_S, so that copies and checks of the batch take little of it.
_MIN_MATMULS, _BATCH_S = 8, 0.3
_MIN_DURATION_S = 1.0
_CPU_BACKENDS = {kind.name: kind for kind in CPU_BACKENDS}
# Backends that are measured. The TensorRT provider is not: it would have to build an engine first.
MATMUL_BACKENDS = (*_CPU_BACKENDS, CudaProviderBackend.name, *ENGINE_KINDS)
_CEILING_PRECISION: dict[Precision, Precision] = {"int8+bf16": "int8"}

_BuildBackend = Callable[[Path, NetworkShape], Backend]


def ceiling_precision(precision: Precision) -> Precision:
    """Return the precision of the ceiling that a precision is compared with."""
    return _CEILING_PRECISION.get(precision, precision)


class Ceiling(StrictModel):
    """The speed of a backend on matrix multiplications."""

    backend: str
    device: str = Field(description="`cpu`, or the name of the GPU")
    precision: Precision
    matrix_size: int = Field(description="rows, and columns, of the square matrices")
    matmuls_per_batch: int = Field(description="multiplications in a batch, one after another")
    tflop_per_s: float


def measure_ceiling(
    name: str, precision: Precision, threads: int | None, gpu_index: int
) -> Ceiling:
    """Measure the speed of a backend on matrix multiplications.

    Args:
        name: of the backend, one of `MATMUL_BACKENDS`.
        precision: of the multiplications.
        threads: CPU threads. None: one per core.
        gpu_index: GPU index, from 0.

    Raises:
        BackendError: the backend is not available, or cannot execute the graph.
        ExportError: an engine cannot be built for this GPU.
    """
    timer = GpuTimer()
    build = _backend_builder(name, precision, threads, gpu_index, timer)
    size = _CPU_MATRIX_SIZE if name in _CPU_BACKENDS else _GPU_MATRIX_SIZE
    matrix = np.random.default_rng(1).normal(size=(1, size, size)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:

        def build_for(matmuls: int) -> Backend:
            path = Path(folder) / f"{matmuls}.onnx"
            shape = write_matmul_graph(path, STORED_PRECISION[precision], size, matmuls)
            return build(path, shape)

        with build_for(_MIN_MATMULS) as trial:
            trial.execute([matrix])
            started = time.perf_counter()
            trial.execute([matrix])
            trial_s = time.perf_counter() - started
        matmuls = _MIN_MATMULS * max(1, math.ceil(_BATCH_S / trial_s))
        with build_for(matmuls) as backend:
            _, gpu_times = time_single_batches(backend, [matrix], timer, _MIN_DURATION_S)
            per_s = (
                batches_per_second(backend, itertools.repeat([matrix]), _MIN_DURATION_S)
                if gpu_times is None
                else 1e3 / gpu_times.compute_ms
            )
    return Ceiling(
        backend=name,
        device=backend.device,
        precision=precision,
        matrix_size=size,
        matmuls_per_batch=matmuls,
        tflop_per_s=round(2 * size**3 * matmuls * per_s / 1e12, 4),
    )


def _backend_builder(
    name: str, precision: Precision, threads: int | None, gpu_index: int, timer: GpuTimer
) -> _BuildBackend:
    """Return a function that builds the backend of a graph. Check first that it is available."""
    cpu_backend = _CPU_BACKENDS.get(name)
    if cpu_backend is not None:
        cpu_backend.require_installed()
        return lambda path, shape: cpu_backend(path, shape, precision=precision, threads=threads)
    for engine_kind in ENGINE_KINDS:
        if engine_kind == name:
            return _engine_builder(load_tensorrt(engine_kind), precision, gpu_index, timer)
    CudaProviderBackend.require_installed()
    driver = timed_driver(device_type(), timer)
    driver.gpu_by_index(gpu_index)
    return lambda path, shape: CudaProviderBackend(
        path, shape, driver, gpu_index=gpu_index, precision=precision
    )


def _engine_builder(
    library: TensorRtLibrary, precision: Precision, gpu_index: int, timer: GpuTimer
) -> _BuildBackend:
    """Return a function that compiles a graph for this GPU."""
    driver = timed_driver(device_type(), timer)
    gpu = driver.gpu_by_index(gpu_index)

    def build(path: Path, shape: NetworkShape) -> Backend:
        profile = BatchProfile(min=1, opt=1, max=1)
        compiled = (
            compile_graph(library, path, profile, shape.input_shape, targets=[gpu.target])
            if library.kind == "rtx"
            else compile_graph(library, path, profile, shape.input_shape, gpu=gpu)
        )
        plan = path.with_name(f"products-{shape.size_px}-{path.stem}.engine")
        plan.write_bytes(compiled.plan)
        return EngineBackend(plan, library, driver, shape, gpu_index=gpu_index, precision=precision)

    return build
