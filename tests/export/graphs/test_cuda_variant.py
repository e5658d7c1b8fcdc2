"""Graphs for the CUDA provider: nothing on the CPU, and executable in float32 to compare."""

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.export.graphs.test_views import predict, weighting_graph
from tests.networks import (
    blobs,
    briefly_trained,
    padded_recipe,
    perturbed_network,
    small_convolutional_recipe,
)
from wmh_export import cuda_graphs
from wmh_export.cuda_graphs import make_cuda_graphs, trace_cuda_graphs
from wmh_export.graphs.cuda_variant import (
    require_cuda_operators,
    scale_by_constants,
    widened,
)
from wmh_export.graphs.trace import trace
from wmh_export.graphs.views import with_eight_views
from wmh_export.network.cuda_encoder import for_cuda
from wmh_export.network.half_precision import HalfPrecisionNetwork
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_runtime.conformance.probe_slices import ProbeSlices
from wmh_runtime.conformance.reference_outputs import compute_reference_outputs
from wmh_runtime.errors import ExportError
from wmh_train.torch_backend import TorchBackend

RECIPES = {
    "transformer": padded_recipe,
    "unet": lambda: small_convolutional_recipe("unet"),
}


def references_of(network, recipe, slices):
    with TorchBackend(copy.deepcopy(network).double(), recipe, views=1) as backend:
        probes = ProbeSlices("phantoms", slices, np.full(len(slices), 0.1, np.float32))
        return [compute_reference_outputs(backend, probes, {"wmh": 0.5}, 2, 0)]


@pytest.fixture(
    scope="module",
    params=["transformer", pytest.param("unet", marks=pytest.mark.exhaustive)],
)
def made(request):
    """A rewritten network, slices, and its graphs for the CUDA provider."""
    recipe = RECIPES[request.param]()
    network, shape = briefly_trained(recipe), recipe.network_shape
    slices, _ = blobs(recipe, 4, np.random.default_rng(0))
    rewritten, references = rewrite(merge(network)), references_of(network, recipe, slices)
    return rewritten, slices, make_cuda_graphs(rewritten, shape, references, lambda _: None)


def test_the_graphs_agree_with_those_for_everything(made, tmp_path):
    rewritten, slices, graphs = made
    plain = trace(HalfPrecisionNetwork(rewritten), *slices.shape[1:3])
    for views, model in ((1, plain), (8, with_eight_views(plain))):
        expected = predict(widened(model), slices, tmp_path)
        outputs = predict(widened(graphs.models[views]), slices, tmp_path)
        np.testing.assert_allclose(outputs, expected, atol=1e-3)
        assert expected.std() > 1e-3
        (parity,) = graphs.parity[views]
        assert (parity.precision, parity.views, parity.emulated) == ("fp16", views, True)
        assert parity.mask_dice > 0.99


def test_all_operators_run_on_the_gpu(made):
    _, _, graphs = made
    for model in graphs.models.values():
        operators = {node.op_type for node in model.graph.node}
        assert not operators & {"Mean", "Shape", "Expand", "Range", "ConstantOfShape"}
        assert all(name for node in model.graph.node for name in node.input[:1])


def test_a_mean_or_a_shape_would_run_on_the_cpu():
    plain = with_eight_views(weighting_graph(np.ones((2, 2), np.float32)))
    with pytest.raises(ExportError, match=r"^Mean would run on the CPU"):
        require_cuda_operators(plain)


def test_an_operator_without_a_kernel_of_its_version_is_refused():
    # MONAI's U-Net pads. The kernel is of version 18, the operator of version 19.
    recipe = small_convolutional_recipe("monai-unet")
    network = rewrite(merge(perturbed_network(recipe)))
    with pytest.raises(ExportError, match=r"^Pad would run on the CPU"):
        trace_cuda_graphs(network, recipe.network_shape)


def test_a_graph_that_differs_is_reported(monkeypatch):
    recipe = padded_recipe()
    network, shape = briefly_trained(recipe), recipe.network_shape
    slices, _ = blobs(recipe, 4, np.random.default_rng(0))
    references = references_of(network, recipe, slices)

    def for_another(network):
        changed = for_cuda(network)
        with torch.no_grad():
            changed.decoder.fuse[-1].bias += 2
        return changed

    monkeypatch.setattr(cuda_graphs, "for_cuda", for_another)
    with pytest.raises(ExportError, match=r"^mask Dice is 0"):
        make_cuda_graphs(rewrite(merge(network)), shape, references, lambda _: None)


def test_the_sum_of_views_by_hand(tmp_path):
    # As for Mean: (1 + 2 + 3 + 4) / 4 = 2.5 × the pixel.
    weights = np.array([[1, 2], [3, 4]], np.float32)
    slices = np.array([[[[1, 10], [100, 1000]]]], np.float32)
    graph = with_eight_views(weighting_graph(weights), has_mean=False)
    assert "Mean" not in {node.op_type for node in graph.graph.node}
    np.testing.assert_allclose(predict(graph, slices, tmp_path), 2.5 * slices)


def test_sizes_that_are_made_from_shapes_become_factors():
    network = rewrite(merge(perturbed_network(padded_recipe())))
    model = trace(HalfPrecisionNetwork(network), 1, 64)
    before = [node.op_type for node in model.graph.node]
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    assert len(resizes[0].input) == 4  # the last one is the size
    scale_by_constants(model)
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    # The decoder has scales of 32 and 64 pixels; the first one is enlarged.
    assert [constants[node.input[2]].tolist() for node in resizes] == [[1, 1, 2, 2]]
    after = [node.op_type for node in model.graph.node]
    assert before.count("Shape") > after.count("Shape")
    onnx.checker.check_model(model, full_check=True)


def test_a_widened_graph_has_the_values_of_float16(tmp_path):
    # float16 has 11 bits: the weight 1 + 2⁻¹² is rounded to 1.
    weight = helper.make_tensor("w", TensorProto.FLOAT16, [1], np.array([1 + 2**-12], np.float16))
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["slices"], ["half"], to=TensorProto.FLOAT16),
            helper.make_node("Mul", ["half", "w"], ["product"]),
            helper.make_node("Cast", ["product"], ["probability"], to=TensorProto.FLOAT),
        ],
        "half",
        [helper.make_tensor_value_info("slices", TensorProto.FLOAT, ["N", 1, 2, 2])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", 1, 2, 2])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    slices = np.full((1, 1, 2, 2), 1 + 2**-12, np.float32)  # activations are not rounded
    np.testing.assert_array_equal(predict(widened(model), slices, tmp_path), slices)
    assert model.graph.initializer[0].data_type == TensorProto.FLOAT16  # is not changed
