"""Ceilings: that the products are products, in the precision that is said."""

import numpy as np
import pytest

from wmh_bench import products
from wmh_bench.products import MULTIPLIERS, measure_ceiling, write_products
from wmh_runtime.backends.onnxruntime import OnnxRuntimeBackend
from wmh_runtime.errors import NotInstalledError

SIDE = 64


@pytest.mark.parametrize(("precision", "off"), [("fp32", 1e-5), ("fp16", 5e-3), ("int8", 0.1)])
def test_a_square_is_multiplied_by_the_same_matrix_again_and_again(tmp_path, precision, off):
    """Off in standard deviations: INT8 has a step of 4 / 127 of them in each factor."""
    path = tmp_path / "products.onnx"
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


def test_the_rate_is_that_of_the_operations(monkeypatch):
    monkeypatch.setattr(products, "_SIDE", SIDE)
    monkeypatch.setattr(products, "batches_per_s", lambda *_: 2.0)
    ceiling = measure_ceiling("onnxruntime", "fp32", None, 0)
    # Two batches a second of 8 products of 2 · 64³ operations.
    assert ceiling.tflop_per_s == pytest.approx(2 * 8 * 2 * 64**3 / 1e12, abs=1e-4)
    assert (ceiling.device, ceiling.precision, ceiling.side) == ("cpu", "fp32", SIDE)


def test_a_gpu_multiplies_by_the_cuda_provider_alone():
    assert MULTIPLIERS == ("onnxruntime", "openvino", "onnxruntime-cuda")
    with pytest.raises(NotInstalledError, match="has no CUDAExecutionProvider"):
        measure_ceiling("onnxruntime-cuda", "fp16", None, 0)
