"""The gate of this project: what an export and a scan come to, compared with what is committed."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.dev.counts import Counts, count_export, count_scans, counted_phantoms
from benchmarks.dev.gate import changed_counts
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_runtime.bundle.bundle import open_bundle
from wmh_train.model.network import WmhNetwork
from wmh_train.recipe.recipe import load_recipe

COMMITTED = Path(__file__).resolve().parents[3] / "benchmarks" / "counts.json"
ADVICE = "say why, and write it anew: python -m benchmarks.dev counts --results counts.json"


@pytest.fixture(scope="module")
def committed():
    return Counts.model_validate_json(COMMITTED.read_text(encoding="utf-8"))


def test_the_methods_network_is_exported_to_what_it_was(committed):
    now = count_export(load_recipe("wmh-lora")).model_copy(update={"scans": committed.scans})
    if now.fused_attention is None:  # TensorRT-RTX is not installed
        now = now.model_copy(update={"fused_attention": committed.fused_attention})
    assert changed_counts(committed, now) == [], ADVICE


def test_scans_run_as_many_slices_in_as_much_memory_as_they_did(committed):
    scans = count_scans(open_bundle("demo"), counted_phantoms())
    assert changed_counts(committed, committed.model_copy(update={"scans": scans})) == [], ADVICE


def test_the_operations_are_those_that_pytorch_counts(committed):
    recipe = load_recipe("wmh-lora")
    network = rewrite(merge(WmhNetwork(recipe)))
    image = torch.zeros(1, 1, recipe.preprocessing.size_px, recipe.preprocessing.size_px)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(image)
    assert counter.get_total_flops() / 1e9 == pytest.approx(committed.gflop_a_view, abs=1e-3)


def test_what_matters_is_as_it_should_be(committed):
    assert committed.fused_attention == committed.attention_layers == 12
    for name, graph in committed.graphs.items():
        assert "Pad" not in graph.operators, name  # half of the time on a GPU
    # 87.8 million distinct numbers of four bytes; of two, but for LayerNorm and both ends.
    assert committed.weights_bytes["fp32"] == pytest.approx(4 * 87.8e6, rel=0.001)
    assert committed.weights_bytes["fp16"] == pytest.approx(2 * 87.8e6, rel=0.02)
