"""The eight views inside the graph agree with the table of views."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.networks import perturbed_network, random_slices
from tests.training_toys import small_recipe
from wmh_export.graphs.trace import trace
from wmh_export.graphs.views import with_eight_views
from wmh_export.graphs.weights import save_with_shared_weights
from wmh_export.network.merge import merge
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import NetworkShape
from wmh_train.model.views import OneView
from wmh_train.torch_backend import TorchBackend


def predict(model, slices, folder, batch_size=1):
    save_with_shared_weights({"g.onnx": model}, folder, "w.bin")
    shape = NetworkShape(slices.shape[1], 1, slices.shape[2])
    with OnnxRuntimeBackend(folder / "g.onnx", shape, batch_size=batch_size) as backend:
        return backend.predict(slices)


def weighting_graph(weights: np.ndarray):
    """A network that multiplies each pixel by the weight of its position; it has no symmetry."""
    side = len(weights)
    shape = ["N", 1, side, side]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["slices", "weights"], ["probability"], "weigh")],
        "weigh",
        [helper.make_tensor_value_info("slices", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, shape)],
        [helper.make_tensor("weights", TensorProto.FLOAT, [side, side], weights.ravel())],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_a_mean_calculated_by_hand(tmp_path):
    # A view moves a pixel to another position, where it is multiplied by the weight of that
    # position, and back. In a 2 × 2 image, the eight views move each pixel to each of the four
    # positions twice. With weights 1, 2, 3, 4 the mean is (1 + 2 + 3 + 4) / 4 = 2.5 × the pixel.
    weights = np.array([[1, 2], [3, 4]], np.float32)
    slices = np.array([[[[1, 10], [100, 1000]]]], np.float32)
    outputs = predict(with_eight_views(weighting_graph(weights)), slices, tmp_path)
    np.testing.assert_allclose(outputs, 2.5 * slices)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_mean_over_all_views(tmp_path, batch_size):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(5, 5)).astype(np.float32)
    slices = rng.normal(size=(3, 1, 5, 5)).astype(np.float32)
    outputs = predict(with_eight_views(weighting_graph(weights)), slices, tmp_path, batch_size)
    restored = [view.undo(view.apply(slices) * weights) for view in VIEWS]
    np.testing.assert_allclose(outputs, np.mean(restored, axis=0), atol=1e-6)


def test_the_mean_agrees_with_pytorch(tmp_path):
    recipe = small_recipe()
    network, slices = perturbed_network(recipe), random_slices(recipe)
    one_view = trace(OneView(merge(network)), 1, recipe.preprocessing.size_px)
    outputs = predict(with_eight_views(one_view), slices, tmp_path)
    with TorchBackend(network, recipe) as backend:
        np.testing.assert_allclose(outputs, backend.predict(slices), atol=1e-5)


def test_rotating_the_slice_rotates_the_output(tmp_path):
    # The average over all eight symmetries has these symmetries itself.
    rng = np.random.default_rng(1)
    model = with_eight_views(weighting_graph(rng.normal(size=(6, 6)).astype(np.float32)))
    slices = rng.normal(size=(1, 1, 6, 6)).astype(np.float32)
    upright = predict(model, slices, tmp_path)
    for view in VIEWS:
        rotated = predict(model, np.ascontiguousarray(view.apply(slices)), tmp_path)
        np.testing.assert_allclose(view.undo(rotated), upright, atol=1e-6)


def test_the_one_view_graph_is_not_changed():
    model = weighting_graph(np.ones((2, 2), np.float32))
    before = model.SerializeToString()
    with_eight_views(model)
    assert model.SerializeToString() == before
