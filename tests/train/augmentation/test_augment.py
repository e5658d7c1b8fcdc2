import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wmh_runtime.tta import VIEWS
from wmh_train.augmentation.augment import augment
from wmh_train.augmentation.intensity import _field
from wmh_train.recipe.recipe import AugmentationSettings

OFF = {
    "rotation_degrees": 0,
    "scale": 0,
    "shift": 0,
    "gamma": (1, 1),
    "contrast": (1, 1),
    "brightness": 0,
    "noise": (0, 0),
    "bias_field": 0,
    "low_resolution": 0,
}
ALL = {"bias_field": 0.1, "low_resolution": 0.5}
STILL = {"rotation_degrees": 0, "scale": 0, "shift": 0}  # nothing but a view


def only(**changes):
    return AugmentationSettings(**OFF | changes)


def batch(count=6, size=32, channels=1):
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(size=(count, channels, size, size)).astype(np.float32))
    targets = torch.zeros(count, 1, size, size)
    targets[:, :, 12:18, 13:19] = 1
    targets[:, :, 20:28, 4:12] = 2
    return images * (torch.arange(size) < 28), targets


def many(image, changes, *, count=100, target=None):
    """Augment one slice [1, S, S] in many ways."""
    target = torch.zeros_like(image) if target is None else target
    return augment(
        image.expand(count, *image.shape),
        target.expand(count, *target.shape),
        changes,
        seed=0,
        epoch=0,
        samples=range(count),
    )


# --- draws -------------------------------------------------------------------------------------


def test_a_sample_looks_the_same_in_any_batch():
    images, targets = batch(channels=2)
    all_changes = AugmentationSettings(**ALL)
    together = augment(images, targets, all_changes, seed=1, epoch=2, samples=range(6))
    some = augment(images[[4, 3]], targets[[4, 3]], all_changes, seed=1, epoch=2, samples=[4, 3])
    torch.testing.assert_close(together[0][[4, 3]], some[0])
    assert torch.equal(together[1][[4, 3]], some[1])


@pytest.mark.parametrize("other", [{"seed": 9}, {"epoch": 9}, {"samples": [9]}])
def test_seed_epoch_and_sample_each_change_the_draw(other):
    images, targets = batch(1)
    changes = AugmentationSettings()
    key = {"seed": 1, "epoch": 2, "samples": [3]}
    assert not torch.equal(
        augment(images, targets, changes, **key)[0],
        augment(images, targets, changes, **key | other)[0],
    )


def test_what_is_switched_off_leaves_the_rest_as_it_was():
    # Without noise, with bias field and low resolution: the geometry is the same to the bit.
    images, targets = batch()
    key = {"seed": 0, "epoch": 0, "samples": range(6)}
    _, usual = augment(images, targets, AugmentationSettings(), **key)
    _, other = augment(images, targets, AugmentationSettings(**ALL, noise=(0, 0)), **key)
    assert torch.equal(usual, other)
    # Nor does the gamma drawn depend on the field: one of coefficients ≤ 10⁻⁹ changes nothing.
    gamma = {"gamma": (0.7, 1.5), "contrast": (0.8, 1.3), "brightness": 0.15}
    alone, _ = augment(images, targets, only(**gamma), **key)
    beside, _ = augment(images, targets, only(**gamma, bias_field=1e-9), **key)
    torch.testing.assert_close(alone, beside)


def test_what_is_given_is_not_altered():
    images, targets = batch()
    kept = images.clone(), targets.clone()
    augment(images, targets, AugmentationSettings(**ALL), seed=0, epoch=0, samples=range(6))
    assert torch.equal(images, kept[0])
    assert torch.equal(targets, kept[1])


# --- geometry ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_with_all_else_off_a_slice_is_seen_exactly_in_one_of_eight_views_equally_often(dtype):
    # 800 draws of 8: 100 each, standard deviation √(800 · ⅛ · ⅞) ≈ 9.4; 5 of them are 47.
    image = torch.arange(1, 17).reshape(1, 4, 4) / 7  # as asymmetric as can be
    target = (torch.arange(16).reshape(1, 4, 4) % 3).to(dtype)
    images, targets = many(image, only(), count=800, target=target)
    assert targets.dtype == dtype
    seen = []
    for moved, moved_target in zip(images.numpy(), targets.numpy(), strict=True):
        (view,) = (v for v in VIEWS if np.array_equal(v.apply(image.numpy()), moved))
        assert np.array_equal(view.apply(target.numpy()), moved_target)
        seen.append(view.name)
    counts = [seen.count(view.name) for view in VIEWS]
    assert all(53 <= count <= 147 for count in counts), counts


def center(mask):
    """Center of mass of each [N, 1, S, S], in pixels from the middle of the slice, (N, 2)."""
    middle = (mask.shape[-1] - 1) / 2
    return torch.stack([m.nonzero().float().mean(0)[1:] - middle for m in mask])


def disc(size, row, column, radius=6):
    """A disc [1, S, S] at an offset in pixels from the middle."""
    along = torch.arange(size) - (size - 1) / 2
    return ((along[:, None] - row) ** 2 + (along - column) ** 2 <= radius**2).float()[None]


def test_shift_reaches_its_share_of_the_side_and_no_further():
    # A disc in the middle stays there in all views: 0.05 of 80 pixels are 4, along each axis.
    # The largest of 200 draws uniform in [0, 4] is below 3.8 with 0.95²⁰⁰ ≈ 3 · 10⁻⁵.
    _, moved = many(disc(80, 0, 0), only(shift=0.05), count=100, target=disc(80, 0, 0))
    assert 3.7 <= center(moved).abs().max() <= 4.1
    assert center(moved).mean().abs() < 1  # both ways: 4 / √3 / √200 ≈ 0.16


def test_scale_changes_areas_by_its_square_about_the_middle():
    # 1 ± 0.1, so 0.81 to 1.21 of the disc's area; edges of pixels blur that by less than 2 %.
    target = disc(80, 0, 0, radius=20)
    _, moved = many(target, only(scale=0.1), target=target)
    areas = moved.sum((1, 2, 3)) / target.sum()
    assert 0.80 <= areas.min() <= 0.84
    assert 1.17 <= areas.max() <= 1.23
    assert center(moved).abs().max() < 0.1


def test_rotation_reaches_its_angle_about_the_middle():
    # At distance 24 under 0°: after a view under a multiple of 90°, then ± 15° at most.
    target = disc(80, 0, 24)
    _, moved = many(target, only(rotation_degrees=15), target=target)
    row, column = center(moved).T
    torch.testing.assert_close(
        torch.hypot(row, column), torch.tensor(24.0).expand(100), atol=0.2, rtol=0
    )
    angle = torch.rad2deg(torch.atan2(row, column))
    beside = angle - 90 * (angle / 90).round()
    assert 14 <= beside.max() <= 15.5
    assert -15.5 <= beside.min() <= -14


def test_image_and_target_move_together():
    # An image that is its own target: bright exactly where the target is.
    _, targets = batch(20)
    targets = (targets == 1).float()
    images = targets * 4 - 1
    moved, moved_targets = augment(
        images, targets, AugmentationSettings(**ALL), seed=0, epoch=0, samples=range(20)
    )
    inside = moved_targets.bool()
    assert moved[inside].mean() > 2
    assert moved[~inside].mean() < 0.1


def test_all_channels_and_outputs_move_alike():
    target = torch.cat([disc(40, 0, 10), 2 * disc(40, 0, 10)])
    bend = only(rotation_degrees=15, scale=0.1, shift=0.05)
    images, targets = many(disc(40, 0, 10).expand(3, -1, -1), bend, target=target)
    assert torch.equal(images[:, 0], images[:, 2])
    assert torch.equal(2 * targets[:, 0], targets[:, 1])  # the second one is ignored throughout
    assert torch.equal(targets[:, 0] == 1, images[:, 0] >= 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_targets_keep_their_labels_dtype_and_areas(dtype):
    images, targets = batch()
    _, moved = augment(
        images, targets.to(dtype), AugmentationSettings(), seed=0, epoch=0, samples=range(6)
    )
    assert moved.dtype == dtype
    assert moved.shape == targets.shape
    assert set(moved.unique().tolist()) == {0, 1, 2}
    # 36 pixels, scaled by at most 10 % each way: 36 · 0.9² ≈ 29 to 36 · 1.1² ≈ 44, and edges.
    assert all(24 <= (one == 1).sum() <= 52 for one in moved)
    # 64 pixels: 52 to 77, and edges.
    assert all(44 <= (one == 2).sum() <= 86 for one in moved)


def test_lesion_and_ignored_share_a_pixel_by_the_rule():
    # Resampling is linear, so both labels together move as one lesion would, and so does lesion
    # alone. Labels at random: some pixels show, say, 0.3 of either and 0.4 of background.
    target = torch.randint(0, 3, (1, 32, 32), generator=torch.Generator().manual_seed(0))
    bend = only(rotation_degrees=15, scale=0.1, shift=0.05)
    labels = torch.cat([target, (target != 0).long(), (target == 1).long()]).to(torch.uint8)
    _, moved = many(labels.float(), bend, target=labels)
    both, either, lesion = moved.unbind(1)
    assert torch.equal(both != 0, either == 1)
    assert torch.equal(both == 1, lesion == 1)


# --- intensity ---------------------------------------------------------------------------------


def test_outside_the_head_stays_zero():
    empty = torch.zeros(4, 1, 32, 32)
    changes = AugmentationSettings(**ALL)
    moved, _ = augment(empty, empty, changes, seed=0, epoch=0, samples=range(4))
    assert not moved.any()
    # And beside a head: half of the slice, turned in any way but not bent.
    half = torch.ones(1, 32, 32) * (torch.arange(32) < 16)
    changed, _ = many(half, AugmentationSettings(**STILL, **ALL))
    where, _ = many(half, only())
    assert torch.equal(changed != 0, where != 0)


def test_gamma_bends_between_the_darkest_and_the_brightest():
    # (0, ½, 1) of the range [−2, 6] at γ = 2: (0, ¼, 1), so −2, 0 … and 6. A zero is outside.
    image = torch.tensor([[[-2.0, 2.0], [6.0, 0.0]]])
    changed, _ = many(image, only(gamma=(2, 2)), count=1)
    assert sorted(changed.flatten().tolist()) == pytest.approx([-2, 0, 0, 6], abs=1e-6)


def test_contrast_multiplies_and_brightness_adds_inside_the_head():
    image = torch.tensor([[[1.0, 2.0], [0.0, -1.0]]])
    changed, _ = many(image, only(contrast=(3, 3)), count=1)
    assert sorted(changed.flatten().tolist()) == [-3, 0, 3, 6]
    changed, _ = many(image, only(brightness=0.5), count=200)
    added = changed[changed != 0].reshape(200, 3).sort().values - torch.tensor([-1.0, 1.0, 2.0])
    torch.testing.assert_close(added, added[:, :1].expand(200, 3), atol=1e-6, rtol=0)
    assert -0.5 <= added.min() <= -0.45
    assert 0.45 <= added.max() <= 0.5


def test_noise_has_its_standard_deviation_and_is_drawn_anew_for_each_channel():
    # 100 · 4096 draws: the standard deviation is known to 1 / √(2 · 409 600) ≈ 0.1 %.
    changed, _ = many(torch.ones(2, 64, 64), only(noise=(0.5, 0.5)))
    noise = changed - 1
    assert noise[:, 0].std() == pytest.approx(0.5, rel=0.01)
    assert noise.mean() == pytest.approx(0, abs=0.005)
    assert (noise[:, 0] * noise[:, 1]).mean() == pytest.approx(0, abs=0.005)
    # Between 0 and 1: what differs from slice to slice is the standard deviation itself.
    changed, _ = many(torch.ones(1, 64, 64), only(noise=(0, 1)))
    deviations = changed.std((1, 2, 3))
    assert deviations.min() < 0.1
    assert deviations.max() > 0.9


def test_channels_draw_their_intensities_apart():
    image = torch.ones(2, 8, 8)
    changed, _ = many(image, only(contrast=(0.5, 2)))
    assert not torch.isclose(changed[:, 0], changed[:, 1]).all((1, 2)).any()


def test_bias_field_is_smooth_positive_and_bounded():
    # A head of 1 in air: what is seen of it is the field itself, the darkest pixel being 0.
    # Its logarithm sums 9 terms of at most 0.1: |log| ≤ 0.9. A polynomial of degree 3 has
    # fourth differences of 0 along each line; rounding in float32 leaves 16 · 10⁻⁷ or so.
    image = torch.ones(1, 32, 32)
    image[..., 0] = 0
    fields, _ = many(image, only(bias_field=0.1))
    for field in fields[:, 0]:
        lines = field[1:-1, 1:-1].log()  # a view may have put the air along any side
        assert lines.abs().max() <= 0.9
        assert lines.std() > 0.01
        for axis in (0, 1):
            assert lines.diff(n=4, dim=axis).abs().max() < 1e-5
    # At a corner they sum to either sign: 100 draws of deviation 0.1 · √(9/3) ≈ 0.17, 5 of 0.017.
    assert fields[:, 0, -2, -2].log().mean().abs() < 0.09
    rows, columns = fields[..., 1:-1, 1:-1].log().mean(-1), fields[..., 1:-1, 1:-1].log().mean(-2)
    # It varies along rows and along columns as much: no direction is favoured.
    assert 0.7 < rows.std(-1).mean() / columns.std(-1).mean() < 1.4


def test_bias_field_is_that_of_legendre_polynomials():
    # One coefficient, c_12 = 0.1: exp(0.1 · y · (3x² − 1) / 2), at the corner (1, 1) exp(0.1).
    coefficients = np.zeros((1, 1, 4, 4))
    coefficients[..., 1, 2] = 0.1
    coefficients[..., 0, 0] = coefficients[..., 3, 3] = 7  # constant; degree 6: not of the field
    field = _field(coefficients, torch.zeros(1, 1, 3, 3))
    expected = torch.tensor([[-0.1, 0.05, -0.1], [0, 0, 0], [0.1, -0.05, 0.1]]).exp()
    torch.testing.assert_close(field[0, 0], expected)


def test_bias_field_weights_what_is_above_the_darkest():
    # −2 is the darkest and stays, whatever the field; the others are −2 + 5 · field; 0 is outside.
    image = torch.tensor([[[-2.0, 3.0], [3.0, 0.0]]])
    changed, _ = many(image, only(bias_field=0.5))
    assert (changed.amin((1, 2, 3)) == -2).all()
    assert ((changed == 0).sum((1, 2, 3)) == 1).all()
    assert changed.max() > 4


def test_low_resolution_blurs_detail_keeps_a_constant_and_the_mean():
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1
    changed, _ = many(board[None], only(low_resolution=1))
    # At half the resolution every coarse pixel averages as many of 1 as of −1; at full, all stay.
    contrast = changed.std((1, 2, 3))
    assert contrast.min() < 0.1
    assert (contrast <= 1.001).all()
    # In half of the draws coarse pixels are ¾ or less as many: no moiré is in the pattern's place.
    assert contrast.median() < 0.06
    assert changed.mean().abs() < 0.01
    constant = torch.full((1, 32, 32), 3.0)
    torch.testing.assert_close(
        many(constant, only(low_resolution=1))[0][:, 0], constant.expand(100, 32, 32)
    )


def test_low_resolution_befalls_its_share_of_slices():
    # 400 draws at ¼: 100, standard deviation √(400 · ¼ · ¾) ≈ 8.7; 5 of them are 43.
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1
    changed, _ = many(board[None], only(low_resolution=0.25), count=400)
    blurred = (changed.abs() != 1).flatten(1).any(1).sum()
    assert 57 <= blurred <= 143


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 1000), st.integers(0, 10**6))
def test_whatever_is_drawn_the_result_is_finite_and_labels_are_labels(seed, epoch, sample):
    images, targets = batch(1, channels=2)
    changes = AugmentationSettings(bias_field=0.5, low_resolution=1, gamma=(0.1, 3), noise=(0, 1))
    moved, moved_targets = augment(
        images, targets, changes, seed=seed, epoch=epoch, samples=[sample]
    )
    assert moved.dtype == torch.float32
    assert torch.isfinite(moved).all()
    assert set(moved_targets.unique().tolist()) <= {0, 1, 2}
