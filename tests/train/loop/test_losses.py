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
    """The loss of labels."""
    target = target if target.dtype == torch.int64 else target.to(torch.uint8)
    loss = SegmentationLoss(
        LossSettings(scale_weights=list(weights), boundary_weight=boundary_weight),
        lesion_outputs=target.shape[1],
    )
    return loss(Logits(fused, list(scales)), target)


def random_case(seed, shape=(3, 2, 8, 8)):
    """Logits, scales of a quarter, half and full size, and a target with all three labels."""
    generator = torch.Generator().manual_seed(seed)
    fused = 3 * torch.randn(shape, generator=generator)
    scales = [
        3 * torch.randn(*shape[:2], shape[2] // n, shape[3] // n, generator=generator)
        for n in (4, 2, 1)
    ]
    target = torch.randint(0, 3, shape, generator=generator, dtype=torch.uint8)
    return fused, scales, target


# --- focal and Dice ----------------------------------------------------------------------------


def test_focal_and_dice_of_two_pixels():
    # Logits 0: p = ½ everywhere. Target: one of two pixels.
    # Focal: pixel 1: 0.75 · ½² · ln 2; pixel 0: 0.25 · ½² · ln 2; mean: ⅛ ln 2.
    # Dice: 1 − (2 · ½ + 1) / (½ + ½ + 1 + 1) = 1 − 2/3.
    loss = loss_of(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]]))
    assert loss.focal.item() == pytest.approx(LN_2 / 8, abs=1e-6)
    assert loss.dice.item() == pytest.approx(1 / 3, abs=1e-6)


SOFT = {"focal_alpha": 0.5, "focal_gamma": 0, "boundary_weight": 0.5}


def test_focal_and_dice_of_a_probability():
    # p = ½, t = 0.3; the second pixel is ignored.
    # Focal: −½ (0.3 ln ½ + 0.7 ln ½) = ½ ln 2. Dice: 1 − (2 · 0.3 · ½ + 1) / (¼ + 0.09 + 1).
    loss = SegmentationLoss(LossSettings(**SOFT, scale_weights=[]), lesion_outputs=1)
    target = torch.tensor([0.3, 2.0]).reshape(1, 1, 1, 2)
    at_half = loss(Logits(torch.tensor([0.0, 5.0]).reshape(1, 1, 1, 2), []), target)
    assert at_half.focal.item() == pytest.approx(LN_2 / 2, abs=1e-6)
    assert at_half.dice.item() == pytest.approx(1 - 1.3 / 1.34, abs=1e-6)


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_the_minimum_of_the_whole_loss_is_at_the_probabilities(seed):
    """So a student learns what its teacher says, and not something sharper."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand((3, 1, 8, 8), generator=generator) * 0.98 + 0.01
    target[0, 0, :2] = 2  # ignored
    at_target = torch.logit(target.clamp(max=0.999))
    loss = SegmentationLoss(LossSettings(**SOFT, scale_weights=[1]), lesion_outputs=1)

    def total(logits):
        return loss(Logits(logits, [logits]), target).total

    logits = at_target.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total(logits), logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0)
    moved = at_target + torch.randn(target.shape, generator=generator)
    assert total(moved) > total(at_target)


def test_a_correct_prediction_has_no_loss_and_a_wrong_one_has():
    target = torch.tensor([[[[1.0, 0.0]]]])
    right = torch.tensor([[[[30.0, -30.0]]]])
    assert loss_of(right, target).total.item() == pytest.approx(0, abs=1e-5)
    assert loss_of(-right, target).total > loss_of(torch.zeros_like(right), target).total > 0


def test_dice_is_computed_over_the_whole_batch():
    # p = ½ on 2 pixels, one in each slice, one of them lesion: as above. Separately per slice, it
    # would be the mean of 1 − 2/2.5 and 1 − 1/1.5.
    loss = loss_of(torch.zeros(2, 1, 1, 1), torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1))
    assert loss.dice.item() == pytest.approx(1 / 3, abs=1e-6)


def test_outputs_have_separate_dice_losses():
    # p = ½ on one pixel of each of two outputs, lesion in the first: Dice 1 − 2/2.5 = 0.2 and
    # 1 − 1/1.5 = 1/3. For both outputs together it would be 1/3. Focal: the mean over both, ⅛ ln 2.
    target = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    loss = loss_of(torch.zeros(1, 2, 1, 1), target)
    assert loss.dice.item() == pytest.approx((0.2 + 1 / 3) / 2, abs=1e-6)
    assert loss.focal.item() == pytest.approx(LN_2 / 8, abs=1e-6)


# --- boundary ----------------------------------------------------------------------------------


def mean_boundary_weight(target):
    """The mean weight in the boundary loss. With logits 0, each pixel has a loss of ln 2."""
    return loss_of(torch.zeros(target.shape), target).boundary.item() / LN_2


def test_boundary_weights_of_a_single_pixel():
    # Its 5 × 5 dilation has 25 pixels, its erosion none: 25 of 81 pixels have weight 3, others 1.
    target = torch.zeros(1, 1, 9, 9)
    target[..., 4, 4] = 1
    assert mean_boundary_weight(target) == pytest.approx((25 * 3 + 56) / 81, rel=1e-6)


def test_boundary_includes_an_inner_and_an_outer_rim():
    # A square of 8 × 8: the dilation has 12 × 12, the erosion 4 × 4: 144 − 16 = 128 of 256.
    target = torch.zeros(1, 1, 16, 16)
    target[..., 4:12, 4:12] = 1
    assert mean_boundary_weight(target) == pytest.approx((128 * 3 + 128) / 256, rel=1e-6)


def test_boundary_has_no_edge_at_the_end_of_the_slice():
    # The left 4 of 8 columns are lesion. Only columns 2 to 5 have both classes within 2 pixels.
    target = torch.zeros(1, 1, 8, 8)
    target[..., :4] = 1
    assert mean_boundary_weight(target) == pytest.approx((4 * 3 + 4 * 1) / 8, rel=1e-6)
    assert mean_boundary_weight(torch.ones(1, 1, 8, 8)) == pytest.approx(1, rel=1e-6)
    assert mean_boundary_weight(torch.zeros(1, 1, 8, 8)) == pytest.approx(1, rel=1e-6)


def test_boundary_weighs_cross_entropy_by_pixel():
    # Seven pixels in a row, the first is lesion: pixels 0, 1, 2 are its edge. The lesion has logit
    # −2: 3 · ln(1 + e²). The last pixel is background with logit 1: 1 · ln(1 + e). The others are
    # correct with a loss of 0.
    fused = torch.tensor([-2.0, -60, -60, -60, -60, -60, 1]).reshape(1, 1, 1, 7)
    target = torch.tensor([1, 0, 0, 0, 0, 0, 0]).reshape(1, 1, 1, 7)
    expected = (3 * math.log1p(math.e**2) + math.log1p(math.e)) / 7
    assert loss_of(fused, target).boundary.item() == pytest.approx(expected, rel=1e-6)


def test_boundary_loss_with_weight_0_is_not_computed(monkeypatch):
    def refuse(*_):
        raise AssertionError("the boundary loss was computed")

    monkeypatch.setattr(losses, "_boundary", refuse)
    fused, _, target = random_case(0)
    loss = loss_of(fused, target, boundary_weight=0)
    assert loss.boundary == 0
    assert loss.total == loss.focal + loss.dice


# --- scales and the total ----------------------------------------------------------------------


def test_scale_losses_are_weighted_focal_and_dice():
    fused, _, target = random_case(0)
    loss = loss_of(fused, target, [fused, fused], [0.3, 0.1])
    assert loss.scales.item() == pytest.approx(0.4 * (loss.focal + loss.dice).item(), rel=1e-5)


def test_the_total_includes_the_weighted_boundary_loss():
    fused, scales, target = random_case(1)
    loss = loss_of(fused, target, scales, [0.4, 0.2, 0.1], boundary_weight=0.7)
    expected = loss.focal + loss.dice + 0.7 * loss.boundary + loss.scales
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert loss.regions == 0
    assert min(loss[:-1]) > 0


def test_only_the_total_has_gradients():
    fused, scales, target = random_case(2)
    loss = loss_of(fused.requires_grad_(), target, scales, [1, 1, 1])
    assert [part.requires_grad for part in loss] == [True, *[False] * 5]


def test_a_coarse_pixel_is_lesion_if_any_of_its_pixels_is():
    # Pixels of lesion, background and ignored make the coarse pixel lesion. So a large logit has no
    # loss.
    target = torch.tensor([[0.0, 2.0], [1.0, 0.0]]).reshape(1, 1, 2, 2)
    fused = ((target == 1) * 2.0 - 1) * 30
    large = torch.full((1, 1, 1, 1), 30.0)
    assert loss_of(fused, target, [large], [1.0]).scales.item() == pytest.approx(0, abs=1e-5)
    assert loss_of(fused, target, [-large], [1.0]).scales > 1


def test_a_coarse_pixel_with_an_ignored_one_and_no_lesion_is_ignored():
    # Four coarse pixels: all background, one of four ignored, lesion, all ignored. The two valid
    # ones have logit 0: focal ⅛ ln 2, Dice 1/3, as above. The other two have no effect.
    target = torch.zeros(1, 1, 2, 8)
    target[..., 0, 2] = 2
    target[..., 1, 5] = 1
    target[..., 6:] = 2
    scale = torch.tensor([0.0, 7.0, 0.0, -7.0]).reshape(1, 1, 1, 4)
    loss = loss_of(torch.zeros(1, 1, 2, 8), target, [scale], [1.0])
    assert loss.scales.item() == pytest.approx(LN_2 / 8 + 1 / 3, abs=1e-6)


# --- ignored pixels ----------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([torch.uint8, torch.int64]))
def test_ignored_columns_do_not_affect_the_loss(seed, dtype):
    # All parts of the loss are the same if the right half is ignored, or not there at all.
    fused, scales, target = random_case(seed, (2, 2, 8, 16))
    target[..., 8:] = 2
    weights = [0.4, 0.2, 0.1]
    ignored = loss_of(fused, target.to(dtype), scales, weights)
    cropped_scales = [scale[..., : scale.shape[-1] // 2] for scale in scales]
    cropped = loss_of(fused[..., :8], target[..., :8].to(dtype), cropped_scales, weights)
    torch.testing.assert_close(ignored, cropped)


def test_there_is_no_edge_towards_ignored_pixels():
    # 4 columns each of lesion, ignored and background: no window of 5 contains both classes.
    target = torch.zeros(1, 1, 8, 12)
    target[..., :4] = 1
    target[..., 4:8] = 2
    assert mean_boundary_weight(target) == pytest.approx(1, rel=1e-6)


def test_gradients_are_zero_at_ignored_pixels_only():
    fused, _, target = random_case(3)
    loss_of(fused.requires_grad_(), target).total.backward()
    assert torch.equal(fused.grad == 0, target == 2)


def test_a_batch_of_only_ignored_pixels_has_no_loss():
    fused = torch.randn(1, 1, 4, 4, requires_grad=True)
    loss = loss_of(fused, torch.full((1, 1, 4, 4), 2), [fused], [1.0])
    loss.total.backward()
    assert list(loss) == [0] * 6
    assert not fused.grad.any()


# --- numbers -----------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from(["flip", "transpose", "slices", "outputs"]))
def test_the_loss_does_not_depend_on_views_or_order(seed, change):
    moved = {
        "flip": lambda t: t.flip(-1),
        "transpose": lambda t: t.transpose(-2, -1),
        "slices": lambda t: t[[2, 0, 1]],
        "outputs": lambda t: t[:, [1, 0]],
    }[change]
    fused, scales, target = random_case(seed)
    first = loss_of(fused, target, scales, [1, 1, 1])
    second = loss_of(moved(fused), moved(target), [moved(scale) for scale in scales], [1, 1, 1])
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_logits_in_half_precision_have_finite_loss_and_gradients(dtype):
    target = torch.tensor([1, 0, 1, 0, 2, 1]).reshape(1, 1, 1, 6)
    fused = torch.tensor([50.0, 50, -50, -50, 50, 0.5], dtype=dtype).reshape(1, 1, 1, 6)
    fused.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(fused, target, [fused], [1.0])
    assert {part.dtype for part in loss} == {torch.float32}
    # The same as without autocast in float32. Half precision represents ±50 and ½ exactly, but not
    # the probability for ½.
    torch.testing.assert_close(loss, loss_of(fused.detach().float(), target, [fused.float()], [1]))
    loss.total.backward()
    assert torch.isfinite(fused.grad).all()
    # A false lesion at 50, a missed lesion at −50, and an uncertain one all have gradients.
    assert (fused.grad.flatten()[[1, 2, 5]].sign() == torch.tensor([1, -1, -1])).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_logit_that_is_not_finite_makes_the_total_not_finite(bad, label):
    target = torch.tensor([label, 0, 1, 0]).reshape(1, 1, 2, 2)
    fused = torch.zeros(1, 1, 2, 2)
    invalid = fused.clone()
    invalid[..., 0, 0] = bad
    assert not torch.isfinite(loss_of(invalid, target).total)
    assert not torch.isfinite(loss_of(invalid, target, boundary_weight=0).total)
    assert not torch.isfinite(loss_of(fused, target, [invalid], [0.1]).total)


def test_regions_have_a_loss_of_their_own():
    fused, _, target = random_case(4)  # two outputs: lesions, and one region
    settings = LossSettings(focal_weight=3, boundary_weight=0, region_weight=0.25, scale_weights=[])
    loss = SegmentationLoss(settings, lesion_outputs=1)(Logits(fused, []), target)
    lesions, region = (
        SegmentationLoss(settings, lesion_outputs=1)(Logits(fused[:, k], []), target[:, k])
        for k in (slice(1), slice(1, 2))
    )
    assert loss.focal == lesions.focal
    assert loss.regions.item() == pytest.approx(0.25 * region.total.item())
    assert loss.total.item() == pytest.approx(lesions.total.item() + loss.regions.item())


def test_a_region_that_is_not_annotated_has_no_gradient():
    fused, _, target = random_case(5)
    target[:, 1] = 2
    settings = LossSettings(scale_weights=[])
    loss = SegmentationLoss(settings, lesion_outputs=1)(Logits(fused.requires_grad_(), []), target)
    loss.total.backward()
    assert loss.regions == 0
    assert not fused.grad[:, 1].any()
    assert fused.grad[:, 0].any()
