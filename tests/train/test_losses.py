import math

import pytest
import torch

from wmh_train.decoder import Logits
from wmh_train.losses import SegmentationLoss
from wmh_train.recipe import LossSettings


def loss_of(fused, target, scales=(), weights=()):
    loss = SegmentationLoss(LossSettings(scale_weights=list(weights)))
    return loss(Logits(fused, list(scales)), target).item()


def test_value_by_hand():
    # Logits 0: p = ½ everywhere. Target: one of two pixels.
    # Focal: pixel 1: 0.75 · ½² · ln 2; pixel 0: 0.25 · ½² · ln 2; mean: ⅛ ln 2.
    # Dice: 1 − (2 · ½ + 1) / (½ + ½ + 1 + 1) = 1 − 2/3.
    fused = torch.zeros(1, 1, 1, 2)
    target = torch.tensor([[[[1.0, 0.0]]]])
    assert loss_of(fused, target) == pytest.approx(math.log(2) / 8 + 1 / 3, abs=1e-6)


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_more():
    target = torch.tensor([[[[1.0, 0.0]]]])
    right = torch.tensor([[[[30.0, -30.0]]]])
    assert loss_of(right, target) == pytest.approx(0, abs=1e-5)
    assert loss_of(-right, target) > loss_of(torch.zeros_like(right), target) > 0


def test_scales_count_with_their_weights():
    # The same logits and target at a scale cost `weight` times as much again.
    fused, target = torch.randn(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    once = loss_of(fused, target)
    assert loss_of(fused, target, [fused], [0.3]) == pytest.approx(1.3 * once, rel=1e-5)


def test_a_coarse_pixel_is_lesion_where_any_of_its_pixels_is():
    # One lesion pixel among 2 × 2 makes the coarse pixel lesion: a confident yes costs nothing.
    target = torch.zeros(1, 1, 2, 2)
    target[0, 0, 1, 0] = 1
    fused = (target * 2 - 1) * 30
    yes = torch.full((1, 1, 1, 1), 30.0)
    assert loss_of(fused, target, [yes], [1.0]) == pytest.approx(0, abs=1e-5)


def test_outputs_are_judged_apart():
    target = torch.zeros(1, 2, 4, 4)
    target[:, 0] = 1
    right = (target * 2 - 1) * 30
    assert loss_of(right, target) == pytest.approx(0, abs=1e-5)
    assert loss_of(right.flip(1), target) > 1
