"""The matmul ceiling: correct products, in the right precision, at the right rate."""

import numpy as np
import pytest

from tests.runtime.gpus import install_fake_gpus
from wmh_bench.ceilings import matmul_ceiling
from wmh_bench.ceilings.matmul_ceiling import MATMUL_BACKENDS, measure_ceiling
from wmh_bench.ceilings.matmul_graph import write_matmul_graph
from wmh_export.engines.compiler import CompiledEngine
from wmh_runtime.backends.gpu.cuda_python import CudaDevice
from wmh_runtime.backends.gpu.device import Gpu
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.errors import NotInstalledError

SIZE = 64


@pytest.mark.parametrize(
    ("precision", "max_deviation"), [("fp32", 1e-5), ("fp16", 5e-3), ("int8", 0.1)]
)
def test_the_graph_multiplies_by_the_same_matrix_repeatedly(tmp_path, precision, max_deviation):
    """Deviation in standard deviations: INT8 has a step of 4 / 127 in each factor."""
    path = tmp_path / "matmul.onnx"
    shape = write_matmul_graph(path, precision, SIZE, 3)
    assert shape.input_shape == shape.output_shape == (1, SIZE, SIZE)
    inputs = np.random.default_rng(1).normal(size=(1, *shape.input_shape)).astype(np.float32)
    matrix = np.random.default_rng(0).normal(0, SIZE**-0.5, (SIZE, SIZE))
    expected = inputs @ np.linalg.matrix_power(matrix, 3)
    with OnnxRuntimeBackend(path, shape, precision=precision) as backend:
        outputs = backend.predict(inputs)
    deviation = (outputs - expected).std() / expected.std()
    assert deviation < max_deviation
    if precision != "fp32":
        assert deviation > 1e-5  # it was rounded


@pytest.mark.parametrize(("batch_s", "count"), [(0.4, 8), (0.0, None)])
def test_the_speed_counts_all_operations(monkeypatch, batch_s, count):
    monkeypatch.setattr(matmul_ceiling, "_CPU_MATRIX_SIZE", SIZE)
    # So short that a batch of eight is long enough.
    monkeypatch.setattr(matmul_ceiling, "_BATCH_S", batch_s and 1e-9)
    monkeypatch.setattr(matmul_ceiling, "batches_per_second", lambda *_: 1e6)
    if count is None:  # so long that a batch needs more
        monkeypatch.setattr(matmul_ceiling, "_BATCH_S", 0.01)
    ceiling = measure_ceiling("onnxruntime", "fp32", None, 0)
    # A million batches per second; each multiplication has 2 · 64³ operations.
    matmuls = ceiling.matmuls_per_batch
    assert ceiling.tflop_per_s == pytest.approx(matmuls * 2 * 64**3 * 1e6 / 1e12)
    assert matmuls == (count or matmuls)
    assert matmuls % 8 == 0
    assert (matmuls > 8) is (count is None)
    assert (ceiling.device, ceiling.precision, ceiling.matrix_size) == ("cpu", "fp32", SIZE)


def test_the_backends_that_multiply():
    assert MATMUL_BACKENDS == ("onnxruntime", "openvino", "onnxruntime-cuda", "rtx", "tensorrt")
    with pytest.raises(NotInstalledError, match="has no CUDAExecutionProvider"):
        measure_ceiling("onnxruntime-cuda", "fp16", None, 0)


@pytest.mark.parametrize("kind", ["rtx", "tensorrt"])
def test_the_engine_is_compiled_for_this_gpu(monkeypatch, kind):
    install_fake_gpus(monkeypatch)
    monkeypatch.setattr(matmul_ceiling, "device_type", lambda: CudaDevice)
    monkeypatch.setattr(matmul_ceiling, "_GPU_MATRIX_SIZE", SIZE)
    monkeypatch.setattr(matmul_ceiling, "_BATCH_S", 1e-9)  # a batch of eight is long enough
    targets = []

    def compile_graph(*_, **target):
        targets.append(target)
        return CompiledEngine(b"engine of slices", [], 0)

    monkeypatch.setattr(matmul_ceiling, "compile_graph", compile_graph)
    ceiling = measure_ceiling(kind, "fp16", None, 0)
    # A batch takes a millisecond on the fake device: 8 multiplications of 2 · 64³ operations.
    assert ceiling.tflop_per_s == pytest.approx(8 * 2 * 64**3 / 1e-3 / 1e12, abs=1e-4)
    assert (ceiling.device, ceiling.precision, ceiling.matrix_size) == ("Fake", "fp16", SIZE)
    for target in targets:
        assert target == ({"targets": ["sm89"]} if kind == "rtx" else {"gpu": Gpu("Fake", "sm89")})
