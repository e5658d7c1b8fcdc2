"""INT8: static scales per channel, and the search for layer groups that must stay in float32."""

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.networks import random_slices, small_convolutional_recipe
from tests.toys import perfect_parity
from tests.training_toys import small_recipe
from wmh_export.graphs.trace import trace
from wmh_export.graphs.weights import save_with_shared_weights
from wmh_export.network.merge import merge
from wmh_export.quantization.quantize import (
    SAM_LAYER_GROUPS,
    UNET_LAYER_GROUPS,
    Quantizer,
    search_float32_groups,
)
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.backends.openvino import OpenVinoBackend
from wmh_runtime.conformance.probe_slices import ProbeSlices
from wmh_runtime.errors import ExportError
from wmh_train.model.network import build_network
from wmh_train.model.views import OneView

PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def quantized_nodes(bundle_graph) -> set[str]:
    """The matrix products and convolutions with both inputs from a DequantizeLinear."""
    graph = onnx.load(bundle_graph, load_external_data=False).graph
    dequantized = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    products = (node for node in graph.node if node.op_type in PRODUCTS)
    return {node.name for node in products if dequantized.issuperset(node.input[:2])}


def test_every_product_belongs_to_exactly_one_group(bundle):
    graph = onnx.load(bundle.path_of(bundle.graph(views=1, precision="fp32"))).graph
    products = [node.name for node in graph.node if node.op_type in PRODUCTS]
    patterns = SAM_LAYER_GROUPS.values()
    assert len(patterns) <= 8
    assert all(any(re.match(pattern, name) for name in products) for pattern in patterns)
    for name in products:
        assert sum(bool(re.match(pattern, name)) for pattern in patterns) == 1, name


@pytest.mark.parametrize(
    ("kind", "encoder_stages", "decoder_stages"),
    [("unet", 3, 2), ("monai-unet", 5, 4), ("vgg16-unet", 5, 4)],
)
def test_every_convolution_of_a_u_net_belongs_to_exactly_one_group(
    tmp_path, kind, encoder_stages, decoder_stages
):
    graph = tmp_path / "unet.onnx"
    network = build_network(small_convolutional_recipe(kind)).eval()
    onnx.save(trace(OneView(merge(network)), 1, small_recipe().preprocessing.size_px), graph)
    quantizer = Quantizer(graph, [], tmp_path)
    assert quantizer.groups == [
        "last layer",
        *(f"encoder stage {stage}" for stage in range(encoder_stages, 0, -1)),
        *(f"decoder stage {stage}" for stage in range(1, decoder_stages + 1)),
    ]
    for node in onnx.load(graph).graph.node:
        if node.op_type in PRODUCTS:
            matches = [p for p in UNET_LAYER_GROUPS.values() if re.match(p, node.name)]
            assert len(matches) == 1, node.name


def test_all_products_are_int8_except_float32_groups_positions_and_image(bundle):
    path = bundle.path_of(bundle.graph(views=1, precision="int8"))
    float32_groups = bundle.manifest.quantization.float32_groups
    quantized = quantized_nodes(path)
    graph = onnx.load(bundle.path_of(bundle.graph(views=1, precision="fp32"))).graph
    for node in graph.node:
        if node.op_type in PRODUCTS:
            is_position = re.search(r"attn/MatMul_[23]$", node.name)
            is_left_out = any(
                re.match(SAM_LAYER_GROUPS[group], node.name) for group in float32_groups
            )
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
    # Each quantized product has weights, except query · key and attention · value in two blocks.
    products = quantized_nodes(bundle.path_of(bundle.graph(views=1, precision="int8")))
    assert len(scales) == len(products) - 4


@pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OpenVinoBackend])
def test_a_slice_does_not_depend_on_its_neighbors(bundle, backend):
    # Dynamic scales would come from the whole batch; these are constants of the graph.
    slices = random_slices(small_recipe(channels=bundle.manifest.channels), count=5)
    slices[4] *= 10  # a bright neighbor
    with backend.from_bundle(bundle, precision="int8", batch_size=5) as same_batch:
        expected = same_batch.predict(slices)
    others = np.concatenate([slices[:4], np.zeros_like(slices[:1])])
    with backend.from_bundle(bundle, precision="int8", batch_size=5) as changed_batch:
        outputs = changed_batch.predict(others)
    np.testing.assert_array_equal(outputs[:4], expected[:4])


def test_layers_outside_int8_are_bf16_only_on_request(bundle):
    if "int8+bf16" not in OpenVinoBackend.supported_precisions():
        pytest.skip("this CPU has no bfloat16")
    slices = random_slices(small_recipe(channels=bundle.manifest.channels), count=2)
    outputs = {}
    for precision in ("int8", "int8+bf16"):
        with OpenVinoBackend.from_bundle(bundle, views=1, precision=precision) as backend:
            outputs[precision] = backend.predict(slices)
    difference = abs(outputs["int8+bf16"] - outputs["int8"]).max()
    # bfloat16 has 8 bits of precision: the outputs differ, but only by a few roundings.
    assert 2**-16 < difference < 2**-4


class FakeQuantizer:
    """Returns the groups left in float32 instead of a graph."""

    groups = tuple(SAM_LAYER_GROUPS)

    def quantize(self, float32_groups):
        return frozenset(float32_groups)


def search_with(dice_of, **fields):
    def measure(float32_groups):
        return [perfect_parity(precision="int8", mask_dice=dice_of(float32_groups), **fields)]

    trials = []
    graph = next(search_float32_groups(FakeQuantizer(), measure, trials.append))
    return graph.model, graph.float32_groups, trials


def test_without_sensitive_groups_all_are_int8():
    model, float32_groups, trials = search_with(lambda float32_groups: 0.999)
    assert (model, float32_groups) == (frozenset(), [])
    assert [trial.float32_groups for trial in trials] == [[]]


def in_int8(float32_groups) -> set[str]:
    return set(SAM_LAYER_GROUPS) - set(float32_groups)


def test_a_single_sensitive_group_stays_in_float32():
    _, float32_groups, trials = search_with(
        lambda groups: 0.8 if "neck" in in_int8(groups) else 0.999
    )
    assert float32_groups == ["neck"]
    # First all groups in INT8; then each group alone, to rank them; then all but the worst.
    assert [len(trial.float32_groups) for trial in trials] == [0] + [7] * 8 + [1]


def test_several_groups_stay_in_float32_in_the_order_of_their_sensitivity():
    loss = {"attention": 0.3, "second MLP layers": 0.2, "decoder": 0.01}
    model, float32_groups, trials = search_with(
        lambda groups: 1 - sum(loss.get(group, 0) for group in in_int8(groups))
    )
    assert [trial.float32_groups for trial in trials[9:]] == [
        ["attention"],
        ["attention", "second MLP layers"],
        ["attention", "second MLP layers", "decoder"],
    ]
    assert model == frozenset(float32_groups) == frozenset(loss)


def test_the_search_aims_below_the_tolerance_and_ends():
    # 0.991 is just within the tolerance of 0.99, but other slices might exceed it. If no candidate
    # is better, the search returns the one with the most groups in INT8.
    model, float32_groups, trials = search_with(lambda float32_groups: 0.991)
    assert len(trials) == 1 + 8 + 6
    assert (
        max(len(trial.float32_groups) for trial in trials) == 7
    )  # eight would be the float32 graph
    assert (model, float32_groups) == (frozenset(), [])


def test_if_no_candidate_is_within_tolerance_the_best_parity_wins():
    _, float32_groups, _ = search_with(lambda float32_groups: 0.5 + 0.01 * len(float32_groups))
    assert len(float32_groups) == 7


def test_a_difference_in_volume_counts_too():
    def measure(float32_groups):
        volume_ml = 1.018 if "patches" in in_int8(float32_groups) else 1
        return [perfect_parity(precision="int8", backend_ml=volume_ml)]

    graph = next(search_float32_groups(FakeQuantizer(), measure, lambda trial: None))
    assert graph.float32_groups == ["patches"]


def test_graphs_with_more_groups_in_float32_follow_in_case_the_first_is_refused():
    loss = {"attention": 0.3, "decoder": 0.001}

    def measure(float32_groups):
        dice = 1 - sum(loss.get(group, 0) for group in in_int8(float32_groups))
        return [perfect_parity(precision="int8", mask_dice=dice)]

    found = [
        graph.float32_groups
        for graph in search_float32_groups(FakeQuantizer(), measure, lambda trial: None)
    ]
    assert found[:2] == [["attention"], ["attention", "decoder"]]
    # At the end, the one with the best parity: a single group in INT8, of those tried first.
    assert [len(groups) for groups in found] == [1, 2, 3, 4, 5, 6, 7]


def test_the_volume_of_a_trial_is_null_if_float32_finds_no_lesion():
    _, _, trials = search_with(lambda float32_groups: 0.0, reference_ml=0, backend_ml=1)
    assert trials[0].volume_percent is None


def test_a_few_differing_pixels_of_tiny_lesions_are_tolerated():
    _, float32_groups, trials = search_with(lambda float32_groups: 0.8, differing_pixels=4)
    assert (float32_groups, len(trials)) == ([], 1)
    assert trials[0].mask_dice == 0.8  # recorded as measured


def test_a_failure_of_the_quantizer_is_one_line(tmp_path):
    (tmp_path / "g.onnx").write_bytes(b"")
    quantizer = Quantizer(tmp_path / "g.onnx", [], tmp_path)
    with pytest.raises(ExportError, match=r"ONNX Runtime cannot quantize .*constraints\.txt"):
        quantizer.quantize([])


def test_the_largest_activation_calculated_by_hand(tmp_path):
    # With x = (3, −4) and w = (10, 20), x · w is (30, −80); plus 5 it is (35, −75).
    shape = ["N", 1, 2, 2]
    weights = np.diag([10.0, 20.0]).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["slices", "w"], ["product"], "encoder.neck/MatMul"),
            helper.make_node("Add", ["product", "five"], ["probability"], "encoder.neck/Add"),
        ],
        "test",
        [helper.make_tensor_value_info("slices", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor("w", TensorProto.FLOAT, [2, 2], weights.ravel()),
            helper.make_tensor("five", TensorProto.FLOAT, [1], [5.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    save_with_shared_weights({"g.onnx": model}, tmp_path, "w.bin")
    slices = np.array([[[[3, -4], [0, 0]]]], np.float32)
    probes = ProbeSlices("phantoms", slices, np.ones(1, np.float32))
    quantizer = Quantizer(tmp_path / "g.onnx", [probes], tmp_path)
    assert quantizer.largest_activation() == pytest.approx(80)
