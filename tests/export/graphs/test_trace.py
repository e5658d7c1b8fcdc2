"""Operators, names, metadata and weights of exported graphs."""

import numpy as np
import onnx
import pytest
import torch
from onnx.external_data_helper import ExternalDataInfo

from tests.networks import padded_recipe, perturbed_network, random_slices
from tests.training_toys import small_recipe
from wmh_export.graphs.trace import OPSET, trace
from wmh_export.graphs.weights import save_with_shared_weights
from wmh_export.network.half_precision import HalfPrecisionNetwork
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.types import NetworkShape
from wmh_train.model.views import OneView


def load_without_weights(bundle, graph):
    return onnx.load(bundle.path_of(graph), load_external_data=False)


def test_both_graphs_of_a_precision_share_one_weights_file(bundle):
    for precision in ("fp32", "fp16", "int8"):
        regions = []
        for views in (1, 8):
            model = load_without_weights(bundle, bundle.graph(views=views, precision=precision))
            external = [ExternalDataInfo(t) for t in model.graph.initializer if t.external_data]
            assert {info.location for info in external} == {f"weights.{precision}.bin"}
            assert all(t.external_data for t in model.graph.initializer if np.prod(t.dims) >= 1024)
            regions.append({(info.offset, info.length) for info in external})
        assert regions[0] == regions[1]


def test_graphs_contain_only_standard_operators_and_no_source_paths(bundle):
    """But for those that are made for the CUDA provider, which have operators of ONNX Runtime."""
    for graph in bundle.manifest.graphs:
        content = bundle.path_of(graph).read_bytes()
        model = load_without_weights(bundle, graph)
        own = {"com.microsoft": 1} if graph.provider else {}
        assert {node.domain for node in model.graph.node} == {"", *own}
        imported = {opset.domain: opset.version for opset in model.opset_import}
        assert imported == {"": OPSET} | own
        assert b"wmh_train" not in content
        assert b".py" not in content
        assert not model.functions


def test_graphs_pass_the_onnx_checker_with_shape_inference(bundle):
    for graph in bundle.manifest.graphs:
        path = bundle.path_of(graph)
        onnx.checker.check_model(path, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
        shape = inferred.graph.output[0].type.tensor_type.shape.dim
        assert shape[0].dim_param == "N"
        assert [dim.dim_value for dim in shape[1:]] == [2, 64, 64]


def test_a_graph_contains_metadata(bundle):
    model = load_without_weights(bundle, bundle.graph(views=8, precision="int8"))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata == {
        "made_by": "wmh-lora",
        "input": "flair, t1; z-scored within the head, 0 outside",
        "output": "probability of wmh, stroke",
        "pixel_size_mm": "4",
        "planes": "axial",
        "context_slices": "0",
        "slab_mm": "0",
        "precision": "int8",
        "views": "8",
    }


def test_nodes_are_named_after_their_modules(bundle):
    model = load_without_weights(bundle, bundle.graph(views=1, precision="fp32"))
    names = [node.name for node in model.graph.node]
    assert len(names) == len(set(names))
    assert "encoder.blocks.0.attn.query/MatMul" in names
    assert "decoder.fuse.0/Conv" in names


def test_the_rewritten_network_needs_few_operators(bundle):
    # A block has 2 LayerNormalization, 1 Softmax, 1 Gelu and 10 MatMul: 3 projections, 2 attention
    # products, 2 relative positions, 1 output projection, 2 in the MLP. There are two blocks, and
    # two norms in the neck.
    model = load_without_weights(bundle, bundle.graph(views=1, precision="fp32"))
    operators = [node.op_type for node in model.graph.node]
    counts = {name: operators.count(name) for name in ("LayerNormalization", "MatMul", "Softmax")}
    assert counts == {"LayerNormalization": 6, "MatMul": 20, "Softmax": 2}
    assert "BatchNormalization" not in operators
    assert "Einsum" not in operators
    assert "ScatterND" not in operators


def test_a_saved_graph_is_unchanged_and_agrees_with_the_network_for_any_batch_size(tmp_path):
    recipe = small_recipe()
    network, slices = perturbed_network(recipe), random_slices(recipe)
    model = trace(OneView(rewrite(merge(network))), 1, 64)
    before = model.SerializeToString()
    save_with_shared_weights({"g.onnx": model}, tmp_path, "w.bin")
    assert model.SerializeToString() == before
    with torch.inference_mode():
        expected = OneView(network)(torch.from_numpy(slices)).numpy()
    shape = NetworkShape(channels=1, outputs=1, size_px=64)
    for batch_size in (1, 3):
        with OnnxRuntimeBackend(tmp_path / "g.onnx", shape, batch_size=batch_size) as backend:
            np.testing.assert_allclose(backend.predict(slices), expected, atol=1e-5)


@pytest.mark.parametrize("view", [OneView, HalfPrecisionNetwork])
def test_windows_are_padded_by_concatenation(view):
    # Pad took half of ONNX Runtime's total time on a GPU: see benchmarks/README.md.
    recipe = padded_recipe()
    network = view(rewrite(merge(perturbed_network(recipe))))
    model = trace(network, len(recipe.channels), recipe.preprocessing.size_px)
    operators = [node.op_type for node in model.graph.node if ".attn" in node.name]
    assert operators.count("Concat") >= 6  # queries, keys and values, along both axes
    assert "Pad" not in operators
