import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wmh_train.loop import losses
from wmh_train.loop.losses import SegmentationLoss
from wmh_train.model.decoder import Logits
from wmh_train.recipe.recipe import LossSettings

LN_2 = math.log(2)


def loss_of(fused, target, scales=(), weights=(), boundary_weight=0.5):
    loss = SegmentationLoss(
        LossSettings(scale_weights=list(weights), boundary_weight=boundary_weight)
    )
    return loss(Logits(fused, list(scales)), target)


def random_case(seed, shape=(3, 2, 8, 8)):
    """Logits, their scales at a quarter, a half and full size, and a target of all three labels."""
    draw = torch.Generator().manual_seed(seed)
    fused = 3 * torch.randn(shape, generator=draw)
    scales = [
        3 * torch.randn(*shape[:2], shape[2] // n, shape[3] // n, generator=draw) for n in (4, 2, 1)
    ]
    target = torch.randint(0, 3, shape, generator=draw, dtype=torch.uint8)
    return fused, scales, target


# --- focal and Dice ----------------------------------------------------------------------------


def test_focal_and_dice_by_hand():
    # Logits 0: p = ½ everywhere. Target: one of two pixels.
    # Focal: pixel 1: 0.75 · ½² · ln 2; pixel 0: 0.25 · ½² · ln 2; mean: ⅛ ln 2.
    # Dice: 1 − (2 · ½ + 1) / (½ + ½ + 1 + 1) = 1 − 2/3.
    loss = loss_of(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]]))
    assert loss.focal.item() == pytest.approx(LN_2 / 8, abs=1e-6)
    assert loss.dice.item() == pytest.approx(1 / 3, abs=1e-6)


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_more():
    target = torch.tensor([[[[1.0, 0.0]]]])
    right = torch.tensor([[[[30.0, -30.0]]]])
    assert loss_of(right, target).total.item() == pytest.approx(0, abs=1e-5)
    assert loss_of(-right, target).total > loss_of(torch.zeros_like(right), target).total > 0


def test_dice_is_of_the_whole_batch():
    # p = ½ on 2 pixels, one in each slice, one of them lesion: as by hand above. Slice by slice
    # it would be the mean of 1 − 2/2.5 and 1 − 1/1.5.
    loss = loss_of(torch.zeros(2, 1, 1, 1), torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1))
    assert loss.dice.item() == pytest.approx(1 / 3, abs=1e-6)


def test_outputs_are_judged_apart():
    # p = ½ on one pixel of each of two outputs, lesion in the first: Dice 1 − 2/2.5 = 0.2 and
    # 1 − 1/1.5 = 1/3; pooled it would be 1/3 in all. Focal: the mean over both, ⅛ ln 2.
    target = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    loss = loss_of(torch.zeros(1, 2, 1, 1), target)
    assert loss.dice.item() == pytest.approx((0.2 + 1 / 3) / 2, abs=1e-6)
    assert loss.focal.item() == pytest.approx(LN_2 / 8, abs=1e-6)


# --- boundary ----------------------------------------------------------------------------------


def boundary_of_undecided(target):
    """The boundary loss where every pixel costs ln 2, in units of ln 2: the mean weight."""
    return loss_of(torch.zeros(target.shape), target).boundary.item() / LN_2


def test_boundary_of_a_single_pixel_by_hand():
    # Its dilation by 5 × 5 has 25 pixels, its erosion none: 25 of 81 weigh 3, the others 1.
    target = torch.zeros(1, 1, 9, 9)
    target[..., 4, 4] = 1
    assert boundary_of_undecided(target) == pytest.approx((25 * 3 + 56) / 81, rel=1e-6)


def test_boundary_has_an_inner_and_an_outer_rim():
    # A square of 8 × 8: the dilation has 12 × 12, the erosion 4 × 4: 144 − 16 = 128 of 256.
    target = torch.zeros(1, 1, 16, 16)
    target[..., 4:12, 4:12] = 1
    assert boundary_of_undecided(target) == pytest.approx((128 * 3 + 128) / 256, rel=1e-6)


def test_boundary_has_no_edge_where_the_slice_ends():
    # The left 4 of 8 columns are lesion: columns 2 to 5 see both sides, and nothing else does.
    target = torch.zeros(1, 1, 8, 8)
    target[..., :4] = 1
    assert boundary_of_undecided(target) == pytest.approx((4 * 3 + 4 * 1) / 8, rel=1e-6)
    assert boundary_of_undecided(torch.ones(1, 1, 8, 8)) == pytest.approx(1, rel=1e-6)
    assert boundary_of_undecided(torch.zeros(1, 1, 8, 8)) == pytest.approx(1, rel=1e-6)


def test_boundary_weighs_cross_entropy_by_pixel():
    # Seven pixels in a row, the first lesion: pixels 0, 1, 2 are its edge. The lesion is missed
    # at logit −2: 3 · ln(1 + e²); the last is taken for lesion at logit 1: 1 · ln(1 + e); the
    # others are sure and right.
    fused = torch.tensor([-2.0, -60, -60, -60, -60, -60, 1]).reshape(1, 1, 1, 7)
    target = torch.tensor([1, 0, 0, 0, 0, 0, 0]).reshape(1, 1, 1, 7)
    expected = (3 * math.log1p(math.e**2) + math.log1p(math.e)) / 7
    assert loss_of(fused, target).boundary.item() == pytest.approx(expected, rel=1e-6)


def test_boundary_without_weight_is_not_computed(monkeypatch):
    def refuse(*_):
        raise AssertionError("computed")

    monkeypatch.setattr(losses, "_boundary", refuse)
    fused, _, target = random_case(0)
    loss = loss_of(fused, target, boundary_weight=0)
    assert loss.boundary == 0
    assert loss.total == loss.focal + loss.dice


# --- scales and the total ----------------------------------------------------------------------


def test_scales_cost_focal_and_dice_times_their_weights():
    fused, _, target = random_case(0)
    loss = loss_of(fused, target, [fused, fused], [0.3, 0.1])
    assert loss.scales.item() == pytest.approx(0.4 * (loss.focal + loss.dice).item(), rel=1e-5)


def test_the_total_adds_the_boundary_by_its_weight():
    fused, scales, target = random_case(1)
    loss = loss_of(fused, target, scales, [0.4, 0.2, 0.1], boundary_weight=0.7)
    expected = loss.focal + loss.dice + 0.7 * loss.boundary + loss.scales
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert min(loss) > 0


def test_only_the_total_carries_gradients():
    fused, scales, target = random_case(2)
    loss = loss_of(fused.requires_grad_(), target, scales, [1, 1, 1])
    assert [part.requires_grad for part in loss] == [True, False, False, False, False]


def test_a_coarse_pixel_is_lesion_where_any_of_its_pixels_is():
    # Lesion among background and ignored pixels makes the coarse pixel lesion: a sure yes is free.
    target = torch.tensor([[0.0, 2.0], [1.0, 0.0]]).reshape(1, 1, 2, 2)
    fused = ((target == 1) * 2.0 - 1) * 30
    yes = torch.full((1, 1, 1, 1), 30.0)
    assert loss_of(fused, target, [yes], [1.0]).scales.item() == pytest.approx(0, abs=1e-5)
    assert loss_of(fused, target, [-yes], [1.0]).scales > 1


def test_a_coarse_pixel_with_an_ignored_one_and_no_lesion_is_ignored():
    # Four coarse pixels: all background, one of four ignored, lesion, all ignored. Undecided at
    # the two that count: focal ⅛ ln 2, Dice 1/3, as by hand above, whatever the other two say.
    target = torch.zeros(1, 1, 2, 8)
    target[..., 0, 2] = 2
    target[..., 1, 5] = 1
    target[..., 6:] = 2
    scale = torch.tensor([0.0, 7.0, 0.0, -7.0]).reshape(1, 1, 1, 4)
    loss = loss_of(torch.zeros(1, 1, 2, 8), target, [scale], [1.0])
    assert loss.scales.item() == pytest.approx(LN_2 / 8 + 1 / 3, abs=1e-6)


# --- ignored pixels ----------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([torch.uint8, torch.float32]))
def test_ignored_columns_count_as_if_they_were_not_there(seed, dtype):
    # The right half is ignored, or cut away: every part of the loss is the same.
    fused, scales, target = random_case(seed, (2, 2, 8, 16))
    target[..., 8:] = 2
    weights = [0.4, 0.2, 0.1]
    ignored = loss_of(fused, target.to(dtype), scales, weights)
    cut_scales = [scale[..., : scale.shape[-1] // 2] for scale in scales]
    cut = loss_of(fused[..., :8], target[..., :8].to(dtype), cut_scales, weights)
    torch.testing.assert_close(ignored, cut)


def test_an_edge_towards_ignored_pixels_is_none():
    # Lesion, then ignored, then background, each of 4 columns: no window of 5 sees both.
    target = torch.zeros(1, 1, 8, 12)
    target[..., :4] = 1
    target[..., 4:8] = 2
    assert boundary_of_undecided(target) == pytest.approx(1, rel=1e-6)


def test_gradients_are_zero_at_ignored_pixels_only():
    fused, _, target = random_case(3)
    loss_of(fused.requires_grad_(), target).total.backward()
    assert torch.equal(fused.grad == 0, target == 2)


def test_a_batch_of_nothing_but_ignored_pixels_costs_nothing():
    fused = torch.randn(1, 1, 4, 4, requires_grad=True)
    loss = loss_of(fused, torch.full((1, 1, 4, 4), 2), [fused], [1.0])
    loss.total.backward()
    assert list(loss) == [0] * 5
    assert not fused.grad.any()


# --- numbers -----------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from(["flip", "transpose", "slices", "outputs"]))
def test_the_loss_is_blind_to_views_and_orders(seed, change):
    moved = {
        "flip": lambda t: t.flip(-1),
        "transpose": lambda t: t.transpose(-2, -1),
        "slices": lambda t: t[[2, 0, 1]],
        "outputs": lambda t: t[:, [1, 0]],
    }[change]
    fused, scales, target = random_case(seed)
    once = loss_of(fused, target, scales, [1, 1, 1])
    again = loss_of(moved(fused), moved(target), [moved(scale) for scale in scales], [1, 1, 1])
    torch.testing.assert_close(once, again)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sure_logits_in_half_precision_have_a_finite_loss_in_float32_and_gradients(dtype):
    target = torch.tensor([1, 0, 1, 0, 2, 1]).reshape(1, 1, 1, 6)
    fused = torch.tensor([50.0, 50, -50, -50, 50, 0.5], dtype=dtype).reshape(1, 1, 1, 6)
    fused.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(fused, target, [fused], [1.0])
    assert {part.dtype for part in loss} == {torch.float32}
    # The same as without autocast, from float32: ±50 and ½ are exact in half precision,
    # but the probability of ½ is not.
    torch.testing.assert_close(loss, loss_of(fused.detach().float(), target, [fused.float()], [1]))
    loss.total.backward()
    assert torch.isfinite(fused.grad).all()
    # Taken for lesion at 50, for background at −50, and unsure: all three are mended.
    assert (fused.grad.flatten()[[1, 2, 5]].sign() == torch.tensor([1, -1, -1])).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_logit_that_is_not_finite_shows_in_the_total(bad, label):
    target = torch.tensor([label, 0, 1, 0]).reshape(1, 1, 2, 2)
    fused = torch.zeros(1, 1, 2, 2)
    broken = fused.clone()
    broken[..., 0, 0] = bad
    assert not torch.isfinite(loss_of(broken, target).total)
    assert not torch.isfinite(loss_of(broken, target, boundary_weight=0).total)
    assert not torch.isfinite(loss_of(fused, target, [broken], [0.1]).total)
