"""The counts of scans, compared with the committed counts.json, and its plausibility."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.dev.counts import Counts, count_scans, phantoms_to_count
from benchmarks.dev.regression_check import changed_counts
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_runtime.bundle.bundle import load_bundle
from wmh_train.model.network import build_network
from wmh_train.recipe.recipe import load_recipe

COMMITTED = Path(__file__).resolve().parents[3] / "benchmarks" / "counts.json"
ADVICE = "say why, then run: python -m benchmarks.dev counts --results benchmarks/counts.json"


@pytest.fixture(scope="module")
def committed():
    return Counts.model_validate_json(COMMITTED.read_text(encoding="utf-8"))


def test_scans_have_the_committed_counts(committed):
    first = phantoms_to_count()[:1]  # the second takes as long, and is the same code
    scans = [*count_scans(load_bundle("demo"), first), *committed.scans[1:]]
    assert len(scans) == 2
    assert changed_counts(committed, committed.model_copy(update={"scans": scans})) == [], ADVICE


def test_pytorch_counts_the_same_operations(committed):
    recipe = load_recipe("wmh-lora")
    network = rewrite(merge(build_network(recipe)))
    image = torch.zeros(1, 1, recipe.preprocessing.size_px, recipe.preprocessing.size_px)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(image)
    assert counter.get_total_flops() / 1e9 == pytest.approx(committed.gflop_per_view, abs=1e-3)


def test_the_committed_counts_are_plausible(committed):
    assert committed.fused_attention_layers == committed.attention_layers == 12
    for name, graph in committed.graphs.items():
        assert "Pad" not in graph.operators, name  # takes half of the time on a GPU
    # 87.8 million parameters of four bytes; or of two bytes, except a few float32 layers.
    assert committed.weights_bytes["fp32"] == pytest.approx(4 * 87.8e6, rel=0.001)
    # Besides, for CUDA: heads of 96 features instead of 64 in eight blocks, of 128 in four. Query
    # (scaled), key, value and output: 768 · (768 + 3 · 1152) and 768 · (768 + 3 · 1536); and the
    # positions of the keys, once for all blocks: 196 · 1152 and 1024 · 1536.
    windowed, whole = 768 * (768 + 3 * 1152), 768 * (768 + 3 * 1536)
    for_cuda = 8 * windowed + 4 * whole + 196 * 1152 + 1024 * 1536
    assert committed.weights_bytes["fp16"] == pytest.approx(2 * (87.8e6 + for_cuda), rel=0.02)
