"""INT8: static scales, per channel, and the search for what it hurts."""

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.networks import slices_of
from tests.toys import small_recipe
from wmh_export.quantise import GROUPS, Quantiser, search
from wmh_export.weights import save_sharing_weights
from wmh_runtime.backends.onnxruntime import OnnxRuntimeBackend
from wmh_runtime.backends.openvino import OpenVinoBackend

PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def quantised_nodes(bundle_graph) -> set[str]:
    """The products of which both factors come from a DequantizeLinear."""
    graph = onnx.load(bundle_graph, load_external_data=False).graph
    dequantised = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    products = (node for node in graph.node if node.op_type in PRODUCTS)
    return {node.name for node in products if dequantised.issuperset(node.input[:2])}


def test_every_product_belongs_to_a_group_and_every_group_to_products(bundle):
    graph = onnx.load(bundle.path_of(bundle.graph(views=1, precision="fp32"))).graph
    products = [node.name for node in graph.node if node.op_type in PRODUCTS]
    assert len(GROUPS) <= 8
    for pattern in GROUPS.values():
        assert any(re.match(pattern, name) for name in products)
    for name in products:
        assert sum(bool(re.match(pattern, name)) for pattern in GROUPS.values()) == 1, name


def test_all_products_are_int8_but_those_left_out_of_positions_and_of_the_image(bundle):
    path = bundle.path_of(bundle.graph(views=1, precision="int8"))
    left_out = bundle.manifest.quantisation.left_out
    quantised = quantised_nodes(path)
    graph = onnx.load(bundle.path_of(bundle.graph(views=1, precision="fp32"))).graph
    for node in graph.node:
        if node.op_type in PRODUCTS:
            is_position = re.search(r"attn/MatMul_[23]$", node.name)
            is_left_out = any(re.match(GROUPS[group], node.name) for group in left_out)
            stays = is_position or is_left_out or "slices" in node.input
            assert (node.name in quantised) != stays, node.name


def test_weights_of_products_are_int8_with_a_scale_per_channel(bundle):
    model = onnx.load(bundle.path_of(bundle.graph(views=1, precision="int8")))
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    scales = [
        tensors[node.input[1]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in tensors
        and tensors[node.input[0]].data_type == TensorProto.INT8
    ]
    assert {len(scale.dims) for scale in scales} == {1}
    # Each quantised product has weights, but query · key and attention · value of two blocks.
    products = quantised_nodes(bundle.path_of(bundle.graph(views=1, precision="int8")))
    assert len(scales) == len(products) - 4


@pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OpenVinoBackend])
def test_a_slice_does_not_depend_on_its_neighbours(bundle, backend):
    # Dynamic scales would come from the whole batch; these are constants of the graph.
    slices = slices_of(small_recipe(channels=bundle.manifest.channels), count=5)
    slices[4] *= 10  # a bright neighbour
    with backend.of_bundle(bundle, precision="int8", batch_size=5) as together:
        expected = together.predict(slices)
    others = np.concatenate([slices[:4], np.zeros_like(slices[:1])])
    with backend.of_bundle(bundle, precision="int8", batch_size=5) as alone:
        found = alone.predict(others)
    np.testing.assert_array_equal(found[:4], expected[:4])


class QuantiserOf:
    """Gives, in place of a graph, the groups that were left out of it."""

    def quantise(self, left_out):
        return frozenset(left_out)


def search_where(dice_of):
    return search(QuantiserOf(), lambda left_out: (dice_of(left_out), 0.0), lambda trial: None)


def test_where_nothing_hurts_nothing_is_left_out():
    model, trials = search_where(lambda left_out: 0.999)
    assert (model, [trial.left_out for trial in trials]) == (frozenset(), [[]])


def test_the_one_group_that_hurts_is_found():
    _, trials = search_where(lambda left_out: 0.999 if "neck" in left_out else 0.8)
    assert [trial.left_out for trial in trials] == [[], ["decoder"], ["neck"]]


def test_several_groups_are_left_out_in_the_order_of_their_harm():
    harm = {"attention": 0.3, "second MLP layers": 0.2, "decoder": 0.01}
    model, trials = search_where(
        lambda left_out: 1 - sum(h for group, h in harm.items() if group not in left_out)
    )
    # One group at a time helps by its harm; together the two worst leave 0.01, within no half of
    # 1 − 0.99; the third brings 0.
    assert [trial.left_out for trial in trials[9:]] == [
        ["attention", "second MLP layers"],
        ["attention", "second MLP layers", "decoder"],
    ]
    assert model == frozenset(trials[-1].left_out)


def test_the_search_asks_for_more_than_the_bound_and_has_an_end():
    # At the bound itself, Dice 0.99, other slices might be beyond it.
    _, trials = search_where(lambda left_out: 0.99)
    assert len(trials) == 1 + 8 + 6
    assert len(trials[-1].left_out) == 7  # all eight would be the float32 graph


def test_a_volume_that_is_off_counts_too():
    _, trials = search(
        QuantiserOf(), lambda left_out: (1.0, 0.0 if left_out else 1.5), lambda trial: None
    )
    assert [trial.left_out for trial in trials] == [[], ["decoder"]]


def test_the_largest_activation_by_hand(tmp_path):
    # x · w of x = (3, −4), w = (10, 20) is (30, −80); the sum with 5 is (35, −75).
    shape = ["N", 1, 2, 2]
    weights = np.diag([10.0, 20.0]).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["slices", "w"], ["product"], "encoder.neck/MatMul"),
            helper.make_node("Add", ["product", "five"], ["probability"], "encoder.neck/Add"),
        ],
        "by hand",
        [helper.make_tensor_value_info("slices", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor("w", TensorProto.FLOAT, [2, 2], weights.ravel()),
            helper.make_tensor("five", TensorProto.FLOAT, [1], [5.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    save_sharing_weights({"g.onnx": model}, tmp_path, "w.bin")
    slices = np.array([[[[3, -4], [0, 0]]]], np.float32)
    quantiser = Quantiser(tmp_path / "g.onnx", slices, tmp_path)
    quantiser.quantise([])
    assert quantiser.largest_activation() == pytest.approx(80)
