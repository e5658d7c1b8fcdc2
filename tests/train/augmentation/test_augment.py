import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wmh_runtime.tta import VIEWS
from wmh_train.augmentation.augment import augment
from wmh_train.augmentation.context import leave_out_channels
from wmh_train.augmentation.random_generators import SampleGenerators
from wmh_train.recipe.recipe import AugmentationSettings

OFF = {
    "rotation_degrees": 0,
    "scale": 0,
    "shift": 0,
    "gamma": (1, 1),
    "contrast": (1, 1),
    "brightness": 0,
    "noise": (0, 0),
}
NO_GEOMETRY = {"rotation_degrees": 0, "scale": 0, "shift": 0}  # except a view


def only(**changes):
    return AugmentationSettings(**OFF | changes)


def batch(count=6, size=32, channels=1):
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(size=(count, channels, size, size)).astype(np.float32))
    targets = torch.zeros(count, 1, size, size, dtype=torch.uint8)
    targets[:, :, 12:18, 13:19] = 1
    targets[:, :, 20:28, 4:12] = 2
    return images * (torch.arange(size) < 28), targets


def augment_repeatedly(image, changes, *, count=100, target=None):
    """Augment one slice [C, S, S] `count` times, with different random numbers."""
    target = torch.zeros_like(image) if target is None else target
    return augment(
        image.float().expand(count, *image.shape),
        target.expand(count, *target.shape),
        changes,
        seed=0,
        epoch=0,
        draws=range(count),
    )


# --- random numbers ----------------------------------------------------------------------------


def test_a_sample_is_augmented_the_same_way_in_any_batch():
    images, targets = batch(channels=2)
    all_changes = AugmentationSettings()
    together = augment(images, targets, all_changes, seed=1, epoch=2, draws=range(6))
    some = augment(images[[4, 3]], targets[[4, 3]], all_changes, seed=1, epoch=2, draws=[4, 3])
    torch.testing.assert_close(together[0][[4, 3]], some[0])
    assert torch.equal(together[1][[4, 3]], some[1])


@pytest.mark.parametrize("other", [{"seed": 9}, {"epoch": 9}, {"draws": [9]}])
def test_seed_epoch_and_draw_each_change_the_result(other):
    images, targets = batch(1)
    changes = AugmentationSettings()
    key = {"seed": 1, "epoch": 2, "draws": [3]}
    assert not torch.equal(
        augment(images, targets, changes, **key)[0],
        augment(images, targets, changes, **key | other)[0],
    )


def test_a_setting_does_not_affect_the_random_numbers_of_the_others():
    # Without noise, the geometry is bit for bit the same.
    images, targets = batch()
    key = {"seed": 0, "epoch": 0, "draws": range(6)}
    _, default = augment(images, targets, AugmentationSettings(), **key)
    _, other = augment(images, targets, AugmentationSettings(noise=(0, 0)), **key)
    assert torch.equal(default, other)


def test_inputs_are_not_modified():
    images, targets = batch()
    kept = images.clone(), targets.clone()
    augment(images, targets, AugmentationSettings(), seed=0, epoch=0, draws=range(6))
    assert torch.equal(images, kept[0])
    assert torch.equal(targets, kept[1])


# --- geometry ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_without_other_changes_each_of_eight_exact_views_is_equally_frequent(dtype):
    # 800 draws of 8: 100 each. The standard deviation is √(800 · ⅛ · ⅞) ≈ 9.4; 5 times that is 47.
    image = torch.arange(1, 17).reshape(1, 4, 4) / 7  # without any symmetry
    target = (torch.arange(16).reshape(1, 4, 4) % 3).to(dtype)
    images, targets = augment_repeatedly(image, only(), count=800, target=target)
    assert targets.dtype == dtype
    names = []
    for moved, moved_target in zip(images.numpy(), targets.numpy(), strict=True):
        (view,) = (v for v in VIEWS if np.array_equal(v.apply(image.numpy()), moved))
        assert np.array_equal(view.apply(target.numpy()), moved_target)
        names.append(view.name)
    counts = [names.count(view.name) for view in VIEWS]
    assert all(53 <= count <= 147 for count in counts), counts


def center(mask):
    """Center of mass of each mask [N, 1, S, S], in pixels from the center of the slice, (N, 2)."""
    middle = (mask.shape[-1] - 1) / 2
    return torch.stack([m.nonzero().float().mean(0)[1:] - middle for m in mask])


def disc(size, row, column, radius=6):
    """Labels of a disc, uint8 [1, S, S], at an offset in pixels from the center."""
    positions = torch.arange(size) - (size - 1) / 2
    return ((positions[:, None] - row) ** 2 + (positions - column) ** 2 <= radius**2).byte()[None]


def test_shift_has_the_set_range():
    # A disc in the center stays there in all views. 0.05 of 80 pixels are 4 pixels on each axis.
    # The largest of 200 uniform draws in [0, 4] is below 3.8 with probability 0.95²⁰⁰ ≈ 3 · 10⁻⁵.
    _, moved = augment_repeatedly(
        disc(80, 0, 0), only(shift=0.05), count=100, target=disc(80, 0, 0)
    )
    assert 3.7 <= center(moved).abs().max() <= 4.1
    assert center(moved).mean().abs() < 1  # standard error of the mean: 4 / √3 / √200 ≈ 0.16


def test_scale_changes_areas_by_its_square_around_the_center():
    # 1 ± 0.1, so 0.81 to 1.21 of the disc's area, with an error by pixel edges of less than 2 %.
    target = disc(80, 0, 0, radius=20)
    _, moved = augment_repeatedly(target, only(scale=0.1), target=target)
    areas = moved.sum((1, 2, 3)) / target.sum()
    assert 0.80 <= areas.min() <= 0.84
    assert 1.17 <= areas.max() <= 1.23
    assert center(moved).abs().max() < 0.1


def test_rotation_has_the_set_range_around_the_center():
    # At distance 24 and 0°. After a view it is at a multiple of 90°, then at most 15° from that.
    target = disc(80, 0, 24)
    _, moved = augment_repeatedly(target, only(rotation_degrees=15), target=target)
    row, column = center(moved).T
    torch.testing.assert_close(
        torch.hypot(row, column), torch.tensor(24.0).expand(100), atol=0.2, rtol=0
    )
    angle = torch.rad2deg(torch.atan2(row, column))
    rotation = angle - 90 * (angle / 90).round()
    assert 14 <= rotation.max() <= 15.5
    assert -15.5 <= rotation.min() <= -14


def test_image_and_target_move_together():
    # The image is bright exactly in the target.
    _, targets = batch(20)
    targets = (targets == 1).byte()
    images = targets * 4.0 - 1
    moved, moved_targets = augment(
        images, targets, AugmentationSettings(), seed=0, epoch=0, draws=range(20)
    )
    inside = moved_targets.bool()
    assert moved[inside].mean() > 2
    assert moved[~inside].mean() < 0.1


def test_all_channels_and_outputs_have_the_same_geometry():
    target = torch.cat([disc(40, 0, 10), 2 * disc(40, 0, 10)])
    geometry = only(rotation_degrees=15, scale=0.1, shift=0.05)
    images, targets = augment_repeatedly(disc(40, 0, 10).expand(3, -1, -1), geometry, target=target)
    assert torch.equal(images[:, 0], images[:, 2])
    assert torch.equal(2 * targets[:, 0], targets[:, 1])  # all of the second disc is ignored
    assert torch.equal(targets[:, 0] == 1, images[:, 0] >= 0.5)


def test_targets_keep_their_labels_dtype_and_areas():
    images, targets = batch()
    _, moved = augment(images, targets, AugmentationSettings(), seed=0, epoch=0, draws=range(6))
    assert moved.dtype == torch.uint8
    assert moved.shape == targets.shape
    assert set(moved.unique().tolist()) == {0, 1, 2}
    # 36 pixels, scaled by at most 10 %: 36 · 0.9² ≈ 29 to 36 · 1.1² ≈ 44, plus edge pixels.
    assert all(24 <= (one == 1).sum() <= 52 for one in moved)
    # 64 pixels: 52 to 77, plus edge pixels.
    assert all(44 <= (one == 2).sum() <= 86 for one in moved)


def test_probabilities_are_resampled_like_the_image_and_not_rounded():
    image = disc(40, 0, 10) * 0.3
    geometry = only(rotation_degrees=15, scale=0.1, shift=0.05)
    images, targets = augment_repeatedly(image, geometry, target=image)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets, images)
    assert 0 < targets[targets > 0].min() < 0.1
    assert targets.max() <= 0.3 + 1e-6


def test_a_probability_is_ignored_if_any_share_of_it_is():
    # On the left half ignored, on the right half 0.25.
    target = torch.full((1, 32, 32), 0.25)
    target[:, :, :16] = 2
    _, targets = augment_repeatedly(torch.ones(1, 32, 32), only(rotation_degrees=15), target=target)
    inside = targets[:, :, 8:24, 8:24]  # never from outside the slice
    known = inside[inside < 2]
    torch.testing.assert_close(known, torch.full_like(known, 0.25))
    assert 0.3 < (inside == 2).float().mean() < 0.7


def test_lesion_and_ignored_are_resampled_consistently():
    # Resampling is linear. So the union of both labels gives the same result as a lesion of this
    # shape, and lesion alone, too. With random labels, some pixels have for example a share of 0.3
    # of each label and 0.4 of background.
    target = torch.randint(0, 3, (1, 32, 32), generator=torch.Generator().manual_seed(0))
    geometry = only(rotation_degrees=15, scale=0.1, shift=0.05)
    labels = torch.cat([target, (target != 0).long(), (target == 1).long()]).to(torch.uint8)
    _, moved = augment_repeatedly(labels.float(), geometry, target=labels)
    moved_target, union, lesion = moved.unbind(1)
    assert torch.equal(moved_target != 0, union == 1)
    assert torch.equal(moved_target == 1, lesion == 1)


# --- intensity ---------------------------------------------------------------------------------


def test_outside_the_head_stays_zero():
    empty = torch.zeros(4, 1, 32, 32)
    changes = AugmentationSettings()
    moved, _ = augment(empty, empty, changes, seed=0, epoch=0, draws=range(4))
    assert not moved.any()
    # The head fills half of the slice, and only the view changes its position.
    half = torch.ones(1, 32, 32) * (torch.arange(32) < 16)
    changed, _ = augment_repeatedly(half, AugmentationSettings(**NO_GEOMETRY))
    only_view, _ = augment_repeatedly(half, only())
    assert torch.equal(changed != 0, only_view != 0)


def test_gamma_acts_within_the_intensity_range():
    # (0, ½, 1) of the range [−2, 6] with γ = 2 gives (0, ¼, 1), so −2, 0 and 6. The pixel with 0 is
    # outside the head.
    image = torch.tensor([[[-2.0, 2.0], [6.0, 0.0]]])
    changed, _ = augment_repeatedly(image, only(gamma=(2, 2)), count=1)
    assert sorted(changed.flatten().tolist()) == pytest.approx([-2, 0, 0, 6], abs=1e-6)


def test_contrast_multiplies_and_brightness_adds_inside_the_head():
    image = torch.tensor([[[1.0, 2.0], [0.0, -1.0]]])
    changed, _ = augment_repeatedly(image, only(contrast=(3, 3)), count=1)
    assert sorted(changed.flatten().tolist()) == [-3, 0, 3, 6]
    changed, _ = augment_repeatedly(image, only(brightness=0.5), count=200)
    added = changed[changed != 0].reshape(200, 3).sort().values - torch.tensor([-1.0, 1.0, 2.0])
    torch.testing.assert_close(added, added[:, :1].expand(200, 3), atol=1e-6, rtol=0)
    assert -0.5 <= added.min() <= -0.45
    assert 0.45 <= added.max() <= 0.5


def test_noise_has_the_set_standard_deviation_and_is_independent_per_channel():
    # 100 · 4096 draws: the error of the standard deviation is 1 / √(2 · 409 600) ≈ 0.1 %.
    changed, _ = augment_repeatedly(torch.ones(2, 64, 64), only(noise=(0.5, 0.5)))
    noise = changed - 1
    assert noise[:, 0].std() == pytest.approx(0.5, rel=0.01)
    assert noise.mean() == pytest.approx(0, abs=0.005)
    assert (noise[:, 0] * noise[:, 1]).mean() == pytest.approx(0, abs=0.005)
    # In the range from 0 to 1, each slice has another standard deviation.
    changed, _ = augment_repeatedly(torch.ones(1, 64, 64), only(noise=(0, 1)))
    deviations = changed.std((1, 2, 3))
    assert deviations.min() < 0.1
    assert deviations.max() > 0.9


def test_channels_have_independent_intensity_changes():
    image = torch.ones(2, 8, 8)
    changed, _ = augment_repeatedly(image, only(contrast=(0.5, 2)))
    assert not torch.isclose(changed[:, 0], changed[:, 1]).all((1, 2)).any()


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 1000), st.integers(0, 10**6))
def test_results_are_always_finite_with_valid_labels(seed, epoch, sample):
    images, targets = batch(1, channels=2)
    changes = AugmentationSettings(gamma=(0.1, 3), noise=(0, 1))
    moved, moved_targets = augment(images, targets, changes, seed=seed, epoch=epoch, draws=[sample])
    assert moved.dtype == torch.float32
    assert torch.isfinite(moved).all()
    assert set(moved_targets.unique().tolist()) <= {0, 1, 2}


def test_interchangeable_channels_are_left_out_with_all_their_neighbors():
    subsets = [(True, True), (True, False), (False, True)]
    images = torch.ones((300, 6, 4, 4))  # two channels, each with two neighbors
    generators = SampleGenerators(seed=1, epoch=0, draws=range(300))
    kept = leave_out_channels(images, 1, subsets, generators)
    there = kept.amax(dim=(2, 3)).reshape(300, 2, 3)
    assert (there == there[:, :, :1]).all()  # a channel and its neighbors go together
    counts = [int((there[:, :, 0].bool() == torch.tensor(one)).all(dim=1).sum()) for one in subsets]
    assert sum(counts) == 300
    assert min(counts) > 70  # of 100 expected


def test_other_channels_stay_as_they_are():
    images = torch.rand((2, 6, 4, 4))
    generators = SampleGenerators(seed=1, epoch=0, draws=range(2))
    assert leave_out_channels(images, 1, [(True, True)], generators) is images
