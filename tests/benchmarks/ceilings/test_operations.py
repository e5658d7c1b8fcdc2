"""Operations of graphs, and peak speeds of GPUs."""

import onnx
import pytest
import torch
from onnx import TensorProto, parser
from torch.utils.flop_counter import FlopCounterMode

from tests.networks import perturbed_network
from tests.training_toys import lora_recipe
from wmh_bench.ceilings.operations import count_operators, flop_per_slice
from wmh_bench.ceilings.peak_specs import PEAK_SPECS, share_of_peak
from wmh_export.graphs.trace import trace
from wmh_export.graphs.views import with_eight_views
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_train.model.views import OneView


def graph_of(nodes, constants):
    return f"""<ir_version: 10, opset_import: ["" : 20]>
    toy (float[N, 2, 8, 8] slices) => (float[N, 3, 8, 8] probability)
    <{constants}> {{ {nodes} }}"""


@pytest.mark.parametrize(
    ("nodes", "constants", "flop"),
    [
        # 3 outputs of 8 × 8 pixels, each from 2 channels at 3 × 3 positions, multiplied and added.
        (
            "probability = Conv<pads=[1,1,1,1]>(slices, w)",
            "float[3,2,3,3] w",
            2 * 3 * 64 * 2 * 9,
        ),
        # One group per channel: each output depends on one input.
        (
            "x = Conv<pads=[1,1,1,1], group=2>(slices, v)  probability = Conv(x, w)",
            "float[2,1,3,3] v, float[3,2,1,1] w",
            2 * 2 * 64 * 9 + 2 * 3 * 64 * 2,
        ),
        # 4 × 4 pixels of 2 channels, each to 3 channels at 2 × 2 positions.
        (
            "x = AveragePool<kernel_shape=[2,2], strides=[2,2]>(slices)"
            " probability = ConvTranspose<strides=[2,2]>(x, w)",
            "float[2,3,2,2] w",
            2 * 16 * 2 * 3 * 4,
        ),
        # 2 × 8 rows times a matrix of 8 × 8; the addition is not counted.
        (
            "x = MatMul(slices, m)  y = Add(x, x)  probability = Conv(y, w)",
            "float[8,8] m, float[3,2,1,1] w",
            2 * 2 * 8 * 8 * 8 + 2 * 3 * 64 * 2,
        ),
    ],
    ids=["convolution", "grouped", "transposed", "product"],
)
def test_operations_of_known_graphs(tmp_path, nodes, constants, flop):
    names = [one.split()[1] for one in constants.split(", ")]
    model = parser.parse_model(graph_of(nodes, "").replace("<>", ""))
    for name, one in zip(names, constants.split(", "), strict=True):
        sizes = [int(size) for size in one[len("float[") : one.index("]")].split(",")]
        values = [0.0] * torch.Size(sizes).numel()
        model.graph.initializer.append(
            onnx.helper.make_tensor(name, TensorProto.FLOAT, sizes, values)
        )
    path = tmp_path / "graph.onnx"
    onnx.save_model(model, path)
    assert flop_per_slice(path) == flop


def test_a_traced_network_has_as_many_operations_as_pytorch_counts(tmp_path):
    recipe = lora_recipe()
    network, size = rewrite(merge(perturbed_network(recipe))), recipe.preprocessing.size_px
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 1, size, size))
    one, eight = tmp_path / "1.onnx", tmp_path / "8.onnx"
    traced = trace(OneView(network), 1, size)
    onnx.save_model(traced, one)
    onnx.save_model(with_eight_views(traced), eight)
    assert flop_per_slice(one) == counter.get_total_flops()
    assert flop_per_slice(eight) == 8 * flop_per_slice(one)
    assert count_operators(one)["Softmax"] == recipe.network.encoder.depth
    assert count_operators(eight)["Mean"] == 1


@pytest.mark.parametrize(
    ("device", "precision", "share"),
    [
        ("NVIDIA GeForce RTX 4090", "fp16", 0.5),  # 82.6 of 165.2 TFLOP/s
        ("NVIDIA GeForce RTX 4090", "bf16", 0.5),
        ("NVIDIA GeForce RTX 4090", "fp32", 1.0),
        ("Tesla T4", "bf16", None),  # does not support it
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "fp16", None),  # not the desktop GPU
        ("NVIDIA GeForce RTX 4090", "int8+bf16", None),
    ],
)
def test_share_of_the_peak_of_exactly_this_device(device, precision, share):
    assert share_of_peak(device, precision, 82.6) == share


def test_peaks_of_geforce_cards_have_the_ratios_of_their_architectures():
    """GeForce cards of these generations: float16 is 2 × and INT8 is 8 × as fast as float32."""
    for name, peak in PEAK_SPECS.items():
        if "GeForce" in name:
            assert peak.fp16 / peak.fp32 == pytest.approx(2, rel=0.02), name
            assert peak.int8 / peak.fp32 == pytest.approx(8, rel=0.02), name
        assert peak.source
