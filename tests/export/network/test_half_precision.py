"""Half precision: float32 where float16 would overflow, and how a mistake there is seen."""

import copy

import numpy as np
import pytest
import torch
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from tests.networks import perturbed
from tests.toys import small_recipe
from wmh_export.graphs.trace import INPUT_NAME, trace
from wmh_export.graphs.weights import save_sharing_weights
from wmh_export.network.half import HalfView, require_float32_inside, require_headroom, to_half
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_runtime.backends.onnxruntime_cpu import open_session
from wmh_runtime.errors import ExportError

SIZE_PX = 16
LARGE = 600.0  # its square, 360 000, is more than float16 holds: 65 504


def small_network(*, large: bool = False):
    """A network of 4 × 4 tokens, whose tokens may reach far, as those of trained encoders do."""
    recipe = small_recipe(preprocessing={"pixel_size_mm": 4.0, "size_px": SIZE_PX})
    network = merge(perturbed(recipe))
    if large:
        with torch.no_grad():
            network.encoder.pos_embed.mul_(LARGE / network.encoder.pos_embed.abs().max())
    return rewrite(network)


class HalfEncoder(nn.Module):
    """The encoder in half precision; its features, normalized by the neck, are about 1."""

    def __init__(self, network):
        super().__init__()
        self.network = to_half(network).encoder

    def forward(self, image):
        return self.network(image).float()


class CarelessEncoder(nn.Module):
    """The same as a careless export makes it: all of it in float16."""

    def __init__(self, network):
        super().__init__()
        self.network = copy.deepcopy(network.encoder).half()

    def forward(self, image):
        return self.network(image.half()).float()


def error_by_the_standard(model, image, expected) -> float:
    """How far ONNX's own reference is from a result; it computes in the types that are written."""
    with np.errstate(over="ignore", invalid="ignore"):
        (found,) = ReferenceEvaluator(model).run(None, {INPUT_NAME: image})
    return float(np.nan_to_num(np.abs(found - expected), nan=1.0).max())


def types_of_weights(model) -> dict[str, int]:
    return {t.name: t.data_type for t in model.graph.initializer if len(t.dims) > 1}


def test_weights_are_half_but_at_both_ends_of_the_encoder():
    model = trace(HalfView(small_network()), 1, SIZE_PX)
    ends = (*model.graph.input, *model.graph.output)
    assert {end.type.tensor_type.elem_type for end in ends} == {TensorProto.FLOAT}
    half = [node for node in model.graph.node if node.op_type in ("MatMul", "Conv")]
    types = types_of_weights(model)
    exact = {
        node.name.split("/")[0] for node in half if types.get(node.input[1]) == TensorProto.FLOAT
    }
    assert exact == {
        "adapter.0",
        "adapter.3",
        "encoder.patch_embed.exact.proj",
        "encoder.neck.exact.0",
        "encoder.neck.exact.2",
    }
    assert sum(types.get(node.input[1]) == TensorProto.FLOAT16 for node in half) > 20


def test_what_is_exact_has_the_very_weights_of_the_network():
    network = small_network()
    model = trace(HalfView(network), 1, SIZE_PX)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for name in ("blocks.0.norm1", "blocks.1.norm2", "neck"):
        expected = network.encoder.get_submodule(name).state_dict()
        for key, value in expected.items():
            if f"network.encoder.{name}.exact.{key}" in tensors:
                found = tensors[f"network.encoder.{name}.exact.{key}"]
                np.testing.assert_array_equal(found, value.numpy())
    assert "network.encoder.blocks.0.norm1.exact.weight" in tensors


def test_layer_norm_softmax_and_sigmoid_compute_in_float32():
    network = small_network()
    model = trace(HalfView(network), 1, SIZE_PX)
    require_float32_inside(model)
    types = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    inputs = [
        n.input[0] for n in model.graph.node if n.op_type in ("LayerNormalization", "Softmax")
    ]
    assert len(inputs) == 8  # two blocks of two norms and a softmax, two norms of the neck
    assert {types[name] for name in inputs} == {TensorProto.FLOAT}


def test_a_missing_cast_is_caught_by_structure():
    graph = trace(CarelessEncoder(small_network()), 3, SIZE_PX)
    with pytest.raises(ExportError, match=r"norm1.*computes in float16"):
        require_float32_inside(graph)


def test_a_softmax_in_float16_is_caught_by_structure():
    network = small_network()
    model = trace(HalfView(network), 1, SIZE_PX)
    (softmax, *_) = (node for node in model.graph.node if node.op_type == "Softmax")
    (cast,) = (node for node in model.graph.node if node.output[0] == softmax.input[0])
    softmax.input[0] = cast.input[0]
    del model.graph.value_info[:]
    with pytest.raises(ExportError, match=r"Softmax computes in float16"):
        require_float32_inside(model)


def test_a_missing_cast_overflows_by_the_standard_and_cpus_hide_it(tmp_path):
    network = small_network(large=True)
    image = np.random.default_rng(0).normal(size=(1, 3, SIZE_PX, SIZE_PX)).astype(np.float32)
    with torch.inference_mode():
        expected = network.encoder(torch.from_numpy(image)).numpy()
    right = trace(HalfEncoder(network), 3, SIZE_PX)
    broken = trace(CarelessEncoder(network), 3, SIZE_PX)
    assert error_by_the_standard(right, image, expected) < 0.05
    assert error_by_the_standard(broken, image, expected) > 0.5
    # ONNX Runtime computes float16 in wider arithmetic: its agreement proves nothing here.
    save_sharing_weights({"g.onnx": broken}, tmp_path, "w.bin")
    (found,) = open_session(tmp_path / "g.onnx").run(None, {INPUT_NAME: image})
    assert np.abs(found - expected).max() < 0.05


def test_activations_that_float16_cannot_hold_are_refused():
    require_headroom(32752)  # half of the largest float16, 65 504
    with pytest.raises(ExportError, match=r"activations reach 32753, float16 ends at 65504"):
        require_headroom(32753)
    with pytest.raises(ExportError):
        require_headroom(float("nan"))


def test_the_network_itself_is_left_in_float32():
    network = small_network()
    HalfView(network)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
