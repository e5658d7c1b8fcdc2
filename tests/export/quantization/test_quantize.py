"""INT8: static scales, per channel, and the search for what it hurts."""

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.networks import slices_of
from tests.toys import perfect_parity, small_recipe
from wmh_export.graphs.weights import save_sharing_weights
from wmh_export.quantization.quantize import GROUPS, Quantizer, search
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.backends.openvino import OpenVinoBackend
from wmh_runtime.conformance.probe_slices import ProbeSlices
from wmh_runtime.errors import ExportError

PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def quantized_nodes(bundle_graph) -> set[str]:
    """The products of which both factors come from a DequantizeLinear."""
    graph = onnx.load(bundle_graph, load_external_data=False).graph
    dequantized = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    products = (node for node in graph.node if node.op_type in PRODUCTS)
    return {node.name for node in products if dequantized.issuperset(node.input[:2])}


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
    left_out = bundle.manifest.quantization.left_out
    quantized = quantized_nodes(path)
    graph = onnx.load(bundle.path_of(bundle.graph(views=1, precision="fp32"))).graph
    for node in graph.node:
        if node.op_type in PRODUCTS:
            is_position = re.search(r"attn/MatMul_[23]$", node.name)
            is_left_out = any(re.match(GROUPS[group], node.name) for group in left_out)
            stays = is_position or is_left_out or "slices" in node.input
            assert (node.name in quantized) != stays, node.name


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
    # Each quantized product has weights, but query · key and attention · value of two blocks.
    products = quantized_nodes(bundle.path_of(bundle.graph(views=1, precision="int8")))
    assert len(scales) == len(products) - 4


@pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OpenVinoBackend])
def test_a_slice_does_not_depend_on_its_neighbors(bundle, backend):
    # Dynamic scales would come from the whole batch; these are constants of the graph.
    slices = slices_of(small_recipe(channels=bundle.manifest.channels), count=5)
    slices[4] *= 10  # a bright neighbor
    with backend.of_bundle(bundle, precision="int8", batch_size=5) as together:
        expected = together.predict(slices)
    others = np.concatenate([slices[:4], np.zeros_like(slices[:1])])
    with backend.of_bundle(bundle, precision="int8", batch_size=5) as alone:
        found = alone.predict(others)
    np.testing.assert_array_equal(found[:4], expected[:4])


def test_what_is_not_int8_is_bf16_only_where_that_is_asked_for(bundle):
    if "int8+bf16" not in OpenVinoBackend.precisions_here():
        pytest.skip("this processor has no bfloat16")
    slices = slices_of(small_recipe(channels=bundle.manifest.channels), count=2)
    found = {}
    for precision in ("int8", "int8+bf16"):
        with OpenVinoBackend.of_bundle(bundle, views=1, precision=precision) as backend:
            found[precision] = backend.predict(slices)
    difference = abs(found["int8+bf16"] - found["int8"]).max()
    # A bfloat16 keeps 8 binary digits: no more than a few roundings apart, but not the same.
    assert 2**-16 < difference < 2**-4


class QuantizerOf:
    """Gives, in place of a graph, the groups that were left out of it."""

    def quantize(self, left_out):
        return frozenset(left_out)


def search_where(dice_of, **figures):
    def judge(left_out):
        return [perfect_parity(precision="int8", mask_dice=dice_of(left_out), **figures)]

    return search(QuantizerOf(), judge, lambda trial: None)


def test_where_nothing_hurts_nothing_is_left_out():
    model, left_out, trials = search_where(lambda left_out: 0.999)
    assert (model, left_out) == (frozenset(), [])
    assert [trial.left_out for trial in trials] == [[]]


def in_int8(left_out) -> set[str]:
    return set(GROUPS) - set(left_out)


def test_the_one_group_that_hurts_is_left_out():
    _, left_out, trials = search_where(lambda left: 0.8 if "neck" in in_int8(left) else 0.999)
    assert left_out == ["neck"]
    # Everything; each group alone in int8, to know its harm; without the worst.
    assert [len(trial.left_out) for trial in trials] == [0] + [7] * 8 + [1]


def test_several_groups_are_left_out_in_the_order_of_their_harm():
    harm = {"attention": 0.3, "second MLP layers": 0.2, "decoder": 0.01}
    model, left_out, trials = search_where(
        lambda left: 1 - sum(harm.get(group, 0) for group in in_int8(left))
    )
    assert [trial.left_out for trial in trials[9:]] == [
        ["attention"],
        ["attention", "second MLP layers"],
        ["attention", "second MLP layers", "decoder"],
    ]
    assert model == frozenset(left_out) == frozenset(harm)


def test_the_search_asks_for_more_than_the_bound_and_has_an_end():
    # At 0.991, just within the bound of 0.99, other slices might be beyond it; where nothing is
    # better, the graph with most int8 is taken.
    model, left_out, trials = search_where(lambda left_out: 0.991)
    assert len(trials) == 1 + 8 + 6
    assert max(len(trial.left_out) for trial in trials) == 7  # all eight: the float32 graph
    assert (model, left_out) == (frozenset(), [])


def test_where_nothing_is_within_the_bound_the_truest_is_taken():
    _, left_out, _ = search_where(lambda left_out: 0.5 + 0.01 * len(left_out))
    assert len(left_out) == 7


def test_a_volume_that_is_off_counts_too():
    def judge(left):
        return [perfect_parity(precision="int8", found_ml=1 + 0.018 * ("patches" in in_int8(left)))]

    _, left_out, _ = search(QuantizerOf(), judge, lambda trial: None)
    assert left_out == ["patches"]


def test_what_is_found_where_float32_finds_nothing_is_a_trial_like_others():
    _, _, trials = search_where(lambda left_out: 0.0, reference_ml=0, found_ml=1)
    assert trials[0].volume_percent is None


def test_a_few_pixels_of_tiny_lesions_hurt_nobody():
    _, left_out, trials = search_where(lambda left_out: 0.8, differing_pixels=4)
    assert (left_out, len(trials)) == ([], 1)
    assert trials[0].mask_dice == 0.8  # as it was measured


def test_what_the_quantizer_cannot_do_is_one_line(tmp_path):
    (tmp_path / "g.onnx").write_bytes(b"")
    quantizer = Quantizer(tmp_path / "g.onnx", [], tmp_path)
    with pytest.raises(ExportError, match=r"ONNX Runtime cannot quantize .*constraints\.txt"):
        quantizer.quantize([])


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
    questions = ProbeSlices("phantoms", slices, np.ones(1, np.float32))
    quantizer = Quantizer(tmp_path / "g.onnx", [questions], tmp_path)
    assert quantizer.largest_activation() == pytest.approx(80)
