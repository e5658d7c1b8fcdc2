"""The measurement of seconds a view, on a network that takes milliseconds."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from wmh_bench.view_speed import GFLOP_A_VIEW, measure_view_speed
from wmh_export.merge import merge
from wmh_export.rewrite import rewrite
from wmh_train.model.network import WmhNetwork
from wmh_train.recipe import load_recipe


def test_all_execute_the_same_network_in_turns(bundle, checkpoint):
    turns = []
    speed = measure_view_speed(bundle, checkpoint, None, turns=2, on_turn=lambda: turns.append(1))
    assert len(turns) == 3  # the first is not timed
    names = [contender.name for contender in speed.contenders]
    assert len([name for name in names if name.startswith("PyTorch eager")]) == 2
    assert {name.split(" (")[0] for name in names} >= {
        "onnxruntime fp32",
        "onnxruntime int8",
        "openvino fp32",
        "openvino int8",
    }
    reference = speed.contenders[0]
    assert reference.times_faster == 1
    for one in speed.contenders:
        assert 0 < one.fastest_s <= one.median_s <= one.slowest_s
        assert one.times_faster == pytest.approx(reference.median_s / one.median_s, rel=0.1)
        assert one.mask_dice > 0.98
        assert one.share_of_ceiling is None  # the operations are counted for 512 pixels
    for ceiling in speed.ceilings:
        assert ceiling.floor_s == pytest.approx(GFLOP_A_VIEW / ceiling.gflop_per_s, rel=0.01)


def test_the_operations_of_a_view_are_counted():
    recipe = load_recipe("wmh-lora")
    network = rewrite(merge(WmhNetwork(recipe)))
    image = torch.zeros(1, 1, recipe.preparation.size_px, recipe.preparation.size_px)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(image)
    assert counter.get_total_flops() / 1e9 == pytest.approx(GFLOP_A_VIEW, abs=0.5)
