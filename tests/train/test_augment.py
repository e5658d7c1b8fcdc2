import numpy as np
import pytest
import torch

from wmh_train.augment import _transform, augment


def batch(count=6, size=32):
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(size=(count, 1, size, size)).astype(np.float32))
    targets = torch.zeros(count, 1, size, size)
    targets[:, :, 12:18, 13:19] = 1
    return images * (torch.arange(size) < 28), targets


def test_a_sample_looks_the_same_in_any_batch():
    images, targets = batch()
    together = augment(images, targets, seed=1, epoch=2, samples=range(6))
    alone = augment(images[3:4], targets[3:4], seed=1, epoch=2, samples=[3])
    torch.testing.assert_close(together[0][3:4], alone[0])
    torch.testing.assert_close(together[1][3:4], alone[1])


@pytest.mark.parametrize("other", [{"seed": 9}, {"epoch": 9}, {"samples": [9]}])
def test_seed_epoch_and_sample_each_change_the_draw(other):
    images, targets = batch(1)
    settings = {"seed": 1, "epoch": 2, "samples": [3]}
    assert not torch.equal(
        augment(images, targets, **settings)[0], augment(images, targets, **settings | other)[0]
    )


def test_image_and_target_move_together():
    # An image that is its own target, but for contrast: bright exactly where the target is.
    _, targets = batch(20)
    images = targets * 4 - 1
    moved, moved_targets = augment(images, targets, seed=0, epoch=0, samples=range(20))
    inside = moved_targets.bool()
    assert moved[inside].mean() > 2
    assert moved[~inside].mean() < 0.1


def test_targets_stay_zero_or_one_and_keep_their_shape():
    images, targets = batch()
    _, moved = augment(images, targets, seed=0, epoch=0, samples=range(6))
    assert set(moved.unique().tolist()) == {0.0, 1.0}
    # 36 pixels, scaled by at most 10 % each way: 36 / 1.1² ≈ 30 to 36 / 0.9² ≈ 44, and edges.
    assert all(24 <= one.sum() <= 52 for one in moved)


def test_outside_the_head_stays_zero():
    images, targets = torch.zeros(4, 1, 32, 32), torch.zeros(4, 1, 32, 32)
    moved, _ = augment(images, targets, seed=0, epoch=0, samples=range(4))
    assert not moved.any()


def test_transforms_are_turns_or_mirrored_turns_near_one_of_eight():
    seen = set()
    for sample in range(200):
        matrix = _transform(np.random.default_rng(sample))[:, :2].double()
        scale = matrix.det().abs().sqrt()
        assert 1 / 1.1 - 1e-6 <= scale <= 1 / 0.9 + 1e-6
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(2).double() * scale**2)
        nearest = torch.round(matrix / scale)  # within 15° of a quarter turn
        seen.add(tuple(nearest.flatten().int().tolist()))
    assert len(seen) == 8
