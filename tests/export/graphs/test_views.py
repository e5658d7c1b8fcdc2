"""Eight views within the graph are those of the one table of views."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.networks import perturbed, slices_of
from tests.toys import small_recipe
from wmh_export.graphs.trace import trace
from wmh_export.graphs.views import with_eight_views
from wmh_export.graphs.weights import save_sharing_weights
from wmh_export.network.merge import merge
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import NetworkShape
from wmh_train.model.views import OneView
from wmh_train.torch_backend import TorchBackend


def predict(model, slices, folder, batch_size=1):
    save_sharing_weights({"g.onnx": model}, folder, "w.bin")
    shape = NetworkShape(slices.shape[1], 1, slices.shape[2])
    with OnnxRuntimeBackend(folder / "g.onnx", shape, batch_size=batch_size) as backend:
        return backend.predict(slices)


def weighing_graph(weights: np.ndarray):
    """A network that multiplies each pixel by a weight of its place: nothing is symmetric."""
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


def test_by_hand(tmp_path):
    # A view moves pixel q to where the weight is w(p), and back: the mean is, at each pixel, the
    # mean weight of the eight places that symmetry takes it to. Of 2 × 2 weights 1, 2, 3, 4 every
    # pixel meets each twice: (1 + 2 + 3 + 4) / 4 = 2.5 times its value.
    weights = np.array([[1, 2], [3, 4]], np.float32)
    slices = np.array([[[[1, 10], [100, 1000]]]], np.float32)
    found = predict(with_eight_views(weighing_graph(weights)), slices, tmp_path)
    np.testing.assert_allclose(found, 2.5 * slices)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_mean_over_the_table_of_views(tmp_path, batch_size):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(5, 5)).astype(np.float32)
    slices = rng.normal(size=(3, 1, 5, 5)).astype(np.float32)
    found = predict(with_eight_views(weighing_graph(weights)), slices, tmp_path, batch_size)
    undone = [view.undo(view.apply(slices) * weights) for view in VIEWS]
    np.testing.assert_allclose(found, np.mean(undone, axis=0), atol=1e-6)


def test_it_is_what_pytorch_averages(tmp_path):
    recipe = small_recipe()
    network, slices = perturbed(recipe), slices_of(recipe)
    one_view = trace(OneView(merge(network)), 1, recipe.preprocessing.size_px)
    found = predict(with_eight_views(one_view), slices, tmp_path)
    with TorchBackend(network, recipe) as backend:
        np.testing.assert_allclose(found, backend.predict(slices), atol=1e-5)


def test_turning_the_slice_turns_the_answer(tmp_path):
    # Averaged over the whole group, the network has its symmetries: what no other set of views has.
    rng = np.random.default_rng(1)
    model = with_eight_views(weighing_graph(rng.normal(size=(6, 6)).astype(np.float32)))
    slices = rng.normal(size=(1, 1, 6, 6)).astype(np.float32)
    upright = predict(model, slices, tmp_path)
    for view in VIEWS:
        turned = predict(model, np.ascontiguousarray(view.apply(slices)), tmp_path)
        np.testing.assert_allclose(view.undo(turned), upright, atol=1e-6)


def test_the_graph_of_one_view_is_left_as_it_is():
    model = weighing_graph(np.ones((2, 2), np.float32))
    before = model.SerializeToString()
    with_eight_views(model)
    assert model.SerializeToString() == before
