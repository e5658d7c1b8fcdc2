"""Ceilings: that the products are products, in the precision that is said."""

import numpy as np
import pytest

from tests.runtime.gpus import install_fake_gpus
from wmh_bench.ceilings import matmul_ceiling
from wmh_bench.ceilings.matmul_ceiling import MULTIPLIERS, measure_ceiling, write_products
from wmh_export.engines.compiler import Compiled
from wmh_runtime.backends.gpu.cuda_python import CudaDevice
from wmh_runtime.backends.gpu.device import Gpu
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.errors import NotInstalledError

SIDE = 64


@pytest.mark.parametrize(("precision", "off"), [("fp32", 1e-5), ("fp16", 5e-3), ("int8", 0.1)])
def test_a_square_is_multiplied_by_the_same_matrix_again_and_again(tmp_path, precision, off):
    """Off in standard deviations: INT8 has a step of 4 / 127 of them in each factor."""
    path = tmp_path / "matmul_ceiling.onnx"
    shape = write_products(path, precision, SIDE, 3)
    assert shape.slice_in == shape.slice_out == (1, SIDE, SIDE)
    given = np.random.default_rng(1).normal(size=(1, *shape.slice_in)).astype(np.float32)
    matrix = np.random.default_rng(0).normal(0, SIDE**-0.5, (SIDE, SIDE))
    expected = given @ np.linalg.matrix_power(matrix, 3)
    with OnnxRuntimeBackend(path, shape, precision=precision) as backend:
        found = backend.predict(given)
    difference = (found - expected).std() / expected.std()
    assert difference < off
    if precision != "fp32":
        assert difference > 1e-5  # it was rounded


@pytest.mark.parametrize(("batch_s", "count"), [(0.4, 8), (0.0, None)])
def test_the_rate_is_that_of_the_operations(monkeypatch, batch_s, count):
    monkeypatch.setattr(matmul_ceiling, "_SIDE", SIDE)
    monkeypatch.setattr(
        matmul_ceiling, "_BATCH_S", batch_s and 1e-9
    )  # so short that eight are enough
    monkeypatch.setattr(matmul_ceiling, "batches_per_s", lambda *_: 1e6)
    if count is None:  # so long that a batch has as many as it takes
        monkeypatch.setattr(matmul_ceiling, "_BATCH_S", 0.01)
    ceiling = measure_ceiling("onnxruntime", "fp32", None, 0)
    # A million batches a second of so many products of 2 · 64³ operations.
    assert ceiling.tflop_per_s == pytest.approx(ceiling.products * 2 * 64**3 * 1e6 / 1e12)
    assert ceiling.products == (count or ceiling.products)
    assert ceiling.products % 8 == 0
    assert (ceiling.products > 8) is (count is None)
    assert (ceiling.device, ceiling.precision, ceiling.side) == ("cpu", "fp32", SIDE)


def test_on_a_gpu_the_cuda_provider_multiplies_or_an_engine(monkeypatch):
    assert MULTIPLIERS == ("onnxruntime", "openvino", "onnxruntime-cuda", "rtx", "tensorrt")
    with pytest.raises(NotInstalledError, match="has no CUDAExecutionProvider"):
        measure_ceiling("onnxruntime-cuda", "fp16", None, 0)


@pytest.mark.parametrize("kind", ["rtx", "tensorrt"])
def test_an_engine_of_products_is_compiled_for_the_gpu_at_hand(monkeypatch, kind):
    install_fake_gpus(monkeypatch)
    monkeypatch.setattr(matmul_ceiling, "device_type", lambda: CudaDevice)
    monkeypatch.setattr(matmul_ceiling, "_SIDE_ON_GPUS", SIDE)
    monkeypatch.setattr(matmul_ceiling, "_BATCH_S", 1e-9)  # so short that eight are enough
    aims = []

    def compile_graph(*_, **aim):
        aims.append(aim)
        return Compiled(b"engine of slices", [])

    monkeypatch.setattr(matmul_ceiling, "compile_graph", compile_graph)
    ceiling = measure_ceiling(kind, "fp16", None, 0)
    # The fake's clock gives a batch a millisecond: 8 products of 2 · 64³ operations.
    assert ceiling.tflop_per_s == pytest.approx(8 * 2 * 64**3 / 1e-3 / 1e12, abs=1e-4)
    assert (ceiling.device, ceiling.precision, ceiling.side) == ("Fake", "fp16", SIDE)
    for aim in aims:
        assert aim == ({"targets": ["sm89"]} if kind == "rtx" else {"gpu": Gpu("Fake", "sm89")})
