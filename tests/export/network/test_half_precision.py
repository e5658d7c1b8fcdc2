"""Half precision: float32 where float16 would overflow, and checks that find mistakes there."""

import copy

import numpy as np
import pytest
import torch
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from tests.networks import perturbed_network, small_unet
from tests.training_toys import small_recipe
from wmh_export.graphs.trace import INPUT_NAME, trace
from wmh_export.graphs.weights import save_with_shared_weights
from wmh_export.network.half_precision import (
    HalfPrecisionNetwork,
    require_float16_range,
    require_float32_operators,
    to_half_precision,
)
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_runtime.backends.onnxruntime_cpu import open_session
from wmh_runtime.errors import ExportError

SIZE_PX = 16
LARGE = 600.0  # its square, 360 000, is above the largest float16 value, 65 504


def small_network(*, large: bool = False):
    """A network of 4 × 4 tokens; `large` makes activations as large as in trained encoders."""
    recipe = small_recipe(preprocessing={"pixel_size_mm": 4.0, "size_px": SIZE_PX})
    network = merge(perturbed_network(recipe))
    if large:
        with torch.no_grad():
            network.encoder.pos_embed.mul_(LARGE / network.encoder.pos_embed.abs().max())
    return rewrite(network)


class HalfEncoder(nn.Module):
    """The encoder in half precision. Its features are about 1, because the neck normalizes."""

    def __init__(self, network):
        super().__init__()
        self.network = to_half_precision(network).encoder

    def forward(self, image):
        return self.network(image).float()


class Float16Encoder(nn.Module):
    """A wrong half-precision encoder: every layer is in float16."""

    def __init__(self, network):
        super().__init__()
        self.network = copy.deepcopy(network.encoder).half()

    def forward(self, image):
        return self.network(image.half()).float()


def reference_error(model, image, expected) -> float:
    """Largest error of ONNX's reference implementation, which uses the types of the graph."""
    with np.errstate(over="ignore", invalid="ignore"):
        (output,) = ReferenceEvaluator(model).run(None, {INPUT_NAME: image})
    return float(np.nan_to_num(np.abs(output - expected), nan=1.0).max())


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture(scope="module")
def graph(network):
    """Its graph in half precision."""
    return trace(HalfPrecisionNetwork(network), 1, SIZE_PX)


def weight_types(model) -> dict[str, int]:
    return {t.name: t.data_type for t in model.graph.initializer if len(t.dims) > 1}


def test_weights_are_float16_except_in_adapter_patch_embedding_and_neck(graph):
    inputs_and_outputs = (*graph.graph.input, *graph.graph.output)
    assert {value.type.tensor_type.elem_type for value in inputs_and_outputs} == {TensorProto.FLOAT}
    products = [node for node in graph.graph.node if node.op_type in ("MatMul", "Conv")]
    types = weight_types(graph)
    in_float32 = {
        node.name.split("/")[0]
        for node in products
        if types.get(node.input[1]) == TensorProto.FLOAT
    }
    assert in_float32 == {
        "adapter.0",
        "adapter.3",
        "encoder.patch_embed.exact.proj",
        "encoder.neck.exact.0",
        "encoder.neck.exact.2",
    }
    assert sum(types.get(node.input[1]) == TensorProto.FLOAT16 for node in products) > 20


def test_the_first_and_the_last_convolution_of_a_u_net_compute_in_float32():
    network = merge(small_unet())
    model = trace(HalfPrecisionNetwork(network), 1, SIZE_PX)
    types = weight_types(model)
    of_convolutions = {
        node.name.split("/")[0]: types[node.input[1]]
        for node in model.graph.node
        if node.op_type == "Conv"
    }
    in_float32 = {name for name, kind in of_convolutions.items() if kind == TensorProto.FLOAT}
    assert in_float32 == {"encoder.stages.0.0.exact", "decoder.head.exact"}
    assert set(of_convolutions.values()) == {TensorProto.FLOAT, TensorProto.FLOAT16}
    image = torch.randn(1, 1, SIZE_PX, SIZE_PX)
    expected = torch.sigmoid(network(image).fused)
    torch.testing.assert_close(HalfPrecisionNetwork(network)(image), expected, rtol=0, atol=2e-3)


def test_float32_layers_have_the_weights_of_the_network(network, graph):
    tensors = {t.name: numpy_helper.to_array(t) for t in graph.graph.initializer}
    for name in ("blocks.0.norm1", "blocks.1.norm2", "neck"):
        expected = network.encoder.get_submodule(name).state_dict()
        for key, value in expected.items():
            if f"network.encoder.{name}.exact.{key}" in tensors:
                weights = tensors[f"network.encoder.{name}.exact.{key}"]
                np.testing.assert_array_equal(weights, value.numpy())
    assert "network.encoder.blocks.0.norm1.exact.weight" in tensors


def test_layer_norm_softmax_and_sigmoid_compute_in_float32(graph):
    require_float32_operators(graph)
    types = {v.name: v.type.tensor_type.elem_type for v in graph.graph.value_info}
    inputs = [
        n.input[0] for n in graph.graph.node if n.op_type in ("LayerNormalization", "Softmax")
    ]
    assert len(inputs) == 8  # two blocks of two norms and a softmax, two norms of the neck
    assert {types[name] for name in inputs} == {TensorProto.FLOAT}


def test_a_softmax_in_float16_is_found(graph):
    model = copy.deepcopy(graph)
    (softmax, *_) = (node for node in model.graph.node if node.op_type == "Softmax")
    (cast,) = (node for node in model.graph.node if node.output[0] == softmax.input[0])
    softmax.input[0] = cast.input[0]
    del model.graph.value_info[:]
    with pytest.raises(ExportError, match=r"Softmax computes in float16"):
        require_float32_operators(model)


def test_float16_overflows_in_the_onnx_reference_but_not_on_cpus(tmp_path):
    network = small_network(large=True)
    image = np.random.default_rng(0).normal(size=(1, 3, SIZE_PX, SIZE_PX)).astype(np.float32)
    with torch.inference_mode():
        expected = network.encoder(torch.from_numpy(image)).numpy()
    correct = trace(HalfEncoder(network), 3, SIZE_PX)
    wrong = trace(Float16Encoder(network), 3, SIZE_PX)
    with pytest.raises(ExportError, match=r"norm1.*computes in float16"):
        require_float32_operators(wrong)
    assert reference_error(correct, image, expected) < 0.05
    assert reference_error(wrong, image, expected) > 0.5
    # ONNX Runtime emulates float16 in float32 on CPUs, so it does not show the overflow.
    save_with_shared_weights({"g.onnx": wrong}, tmp_path, "w.bin")
    (output,) = open_session(tmp_path / "g.onnx").run(None, {INPUT_NAME: image})
    assert np.abs(output - expected).max() < 0.05


def test_activations_too_large_for_float16_are_rejected():
    require_float16_range(32752)  # half of the largest float16, 65 504
    with pytest.raises(ExportError, match="reach 32753, the largest float16 value is 65504"):
        require_float16_range(32753)
    with pytest.raises(ExportError):
        require_float16_range(float("nan"))


def test_the_original_network_stays_in_float32(network):
    HalfPrecisionNetwork(network)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
