"""Bias correction: the residual streams of an INT8 graph have the means of the float32 graph."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.networks import briefly_trained, padded_recipe, random_slices
from tests.training_toys import small_recipe
from wmh_export.graphs.trace import trace
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_export.quantization.bias_correction import BiasCorrection
from wmh_export.quantization.quantize import Quantizer
from wmh_runtime.conformance.probe_slices import ProbeSlices
from wmh_train.model.views import OneView

BIASES = ["encoder.blocks.0.attn.out.bias", "encoder.blocks.0.mlp.lin2.bias"]


def two_branches(first_weight: float) -> onnx.ModelProto:
    """A residual stream of one channel: s₁ = x + (first · x + 1), s₂ = s₁ + (2 · s₁ + 0)."""

    def node(operator, inputs, output, name):
        return helper.make_node(operator, inputs, [output], name)

    graph = helper.make_graph(
        [
            node("MatMul", ["slices", "first"], "p1", "encoder.blocks.0.attn.out/MatMul"),
            node("Add", ["p1", BIASES[0]], "b1", "encoder.blocks.0.attn.out/Add"),
            node("Add", ["slices", "b1"], "s1", "encoder.blocks.0/Add"),
            node("MatMul", ["s1", "second"], "p2", "encoder.blocks.0.mlp.lin2/MatMul"),
            node("Add", ["p2", BIASES[1]], "b2", "encoder.blocks.0.mlp.lin2/Add"),
            node("Add", ["s1", "b2"], "s2", "encoder.blocks.0/Add_2"),
        ],
        "test",
        [helper.make_tensor_value_info("slices", TensorProto.FLOAT, ["N", 1, 2, 1])],
        [helper.make_tensor_value_info("s2", TensorProto.FLOAT, ["N", 1, 2, 1])],
        [
            helper.make_tensor("first", TensorProto.FLOAT, [1, 1], [first_weight]),
            helper.make_tensor("second", TensorProto.FLOAT, [1, 1], [2.0]),
            helper.make_tensor(BIASES[0], TensorProto.FLOAT, [1], [1.0]),
            helper.make_tensor(BIASES[1], TensorProto.FLOAT, [1], [0.0]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def biases_of(model: onnx.ModelProto) -> list[float]:
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    return [numpy_helper.to_array(tensors[name]).item() for name in BIASES]


def test_only_the_bias_of_the_branch_with_the_shift_is_corrected():
    # Two slices with values (1, 3) and (5, 7), mean 4. A weight rounded from 10 to 11 shifts the
    # mean of the first branch by 1 · 4, so its bias changes from 1 to −3. The weights of the second
    # branch are exact. From the uncorrected stream its mean would be off by 3 · 4; from the
    # corrected stream it keeps its bias.
    slices = np.array([[[[1], [3]]], [[[5], [7]]]], np.float32)
    rounded = two_branches(first_weight=11)
    BiasCorrection(two_branches(first_weight=10), list(slices)).correct(rounded)
    assert biases_of(rounded) == pytest.approx([-3, 0])


def test_a_graph_without_rounding_is_not_changed():
    slices = [np.array([[[1], [3]]], np.float32)]
    BiasCorrection(two_branches(10), slices).correct(same := two_branches(10))
    assert biases_of(same) == [1, 0]


def streams_of(model: onnx.ModelProto, slices) -> list[np.ndarray]:
    """The residual streams after each branch, [N, tokens, C]."""
    additions = [
        n for n in model.graph.node if n.name.startswith("encoder.blocks.") and "/Add" in n.name
    ]
    names = [n.output[0] for n in additions if n.name.count(".") == 2]
    for name in names:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    runs = [session.run(names, {"slices": one[None]}) for one in slices]
    return [np.concatenate(stream) for stream in zip(*runs, strict=True)]


@pytest.mark.exhaustive
@pytest.mark.parametrize("recipe", [small_recipe(), padded_recipe()], ids=["whole", "padded"])
def test_an_int8_encoder_has_the_means_of_the_float32_encoder(recipe, tmp_path):
    path, preprocessing = tmp_path / "1-view.onnx", recipe.preprocessing
    network = OneView(rewrite(merge(briefly_trained(recipe))))
    onnx.save_model(trace(network, len(recipe.channels), preprocessing.size_px), path)
    slices = random_slices(recipe, count=4)
    calibration = [ProbeSlices("phantoms", slices, np.ones(4, np.float32))]
    quantizer = Quantizer(path, calibration, tmp_path)

    def shifts(model):
        pairs = zip(streams_of(model, slices), streams_of(onnx.load(path), slices), strict=True)
        return [abs((stream - expected).mean((0, 1))).max() for stream, expected in pairs]

    # With the neck in INT8, the stream after the last block would be quantized.
    corrected = shifts(quantizer.quantize(["neck"]))
    uncorrected = shifts(quantizer._quantize_without_correction(["neck"]))
    assert len(corrected) == 4  # two blocks of two branches
    assert max(corrected) < 1e-5
    assert min(uncorrected) > 1e-4
