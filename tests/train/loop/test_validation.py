from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tests.training_toys import SMALL_RECIPE, small_recipe
from wmh_runtime.errors import RecipeError
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.loop.validation import validation_dice
from wmh_train.model.decoder import Logits

RECIPE = small_recipe(schedule=SMALL_RECIPE["schedule"] | {"micro_batch_size": 2})


class OneProcess:
    """The part of an Accelerator that `validation_dice` uses."""

    device = torch.device("cpu")
    process_index, num_processes = 0, 1

    def reduce(self, counts, reduction):
        assert reduction == "sum"
        return counts


@dataclass
class Slices:
    """Slices in memory. Their images are used as logits."""

    scans: list
    scan_of: np.ndarray
    images: np.ndarray
    targets: np.ndarray

    def read(self, indices):
        return self.images[indices], self.targets[indices]


def scan(name, site):
    return AnnotatedScan(name, name, site, (), ("mask",))


def predict(images):
    return Logits(fused=images, scales=[])


def slices_of(sites, images, targets):
    scans = [scan(str(number), site) for number, site in enumerate(sites)]
    return Slices(scans, np.arange(len(sites)), np.float32(images), np.uint8(targets))


def test_dice_by_scan_and_site():
    # Rows of four pixels. First: both lesion pixels and a false one are predicted, and the last
    # pixel is ignored: Dice 2 · 2 / (3 + 2). Second: one lesion pixel, found: 1. Third: one of two
    # lesion pixels is predicted: 2 / 3.
    images = [[[[1, 1, 1, 1]]], [[[-1, 1, -1, -1]]], [[[1, -1, -1, -1]]]]
    targets = [[[[1, 1, 0, 2]]], [[[0, 1, 0, 2]]], [[[1, 1, 0, 0]]]]
    result = validation_dice(predict, slices_of("ABA", images, targets), RECIPE, OneProcess())
    assert result.by_site == pytest.approx({"A": (0.8 + 2 / 3) / 2, "B": 1})
    assert result.mean == pytest.approx(((0.8 + 2 / 3) / 2 + 1) / 2)  # each site counts the same


def test_scans_with_an_empty_mask_do_not_decide():
    # The first scan has no lesion. Half of that of the second is found: Dice 2 / 3, IoU 1 / 2.
    targets = [[[[0, 0, 0, 0]]], [[[0, 1, 1, 0]]]]
    for of_empty in ([-1, -1, -1, -1], [1, 1, 1, 1]):
        slices = slices_of("AB", [[[of_empty]], [[[-1, 1, -1, -1]]]], targets)
        result = validation_dice(predict, slices, RECIPE, OneProcess())
        assert (result.mean, result.iou) == pytest.approx((2 / 3, 1 / 2))
        assert result.by_site == pytest.approx({"B": 2 / 3})


def test_if_all_masks_are_empty_finding_nothing_is_right():
    targets = [[[[0, 0, 0, 0]]], [[[0, 0, 0, 0]]]]
    slices = slices_of("AB", [[[[-1, -1, -1, -1]]], [[[-1, 1, -1, -1]]]], targets)
    result = validation_dice(predict, slices, RECIPE, OneProcess())
    assert result.by_site == {"A": 1, "B": 0}
    assert result.mean == 0.5


def test_interchangeable_channels_are_validated_in_all_subsets():
    # The network finds what is in any channel: both pixels, the first, the second.
    recipe = small_recipe(channels=["flair", "t1"], interchangeable=True)
    images, targets = [[[[1, 0]], [[0, 1]]]], [[[[1, 1]]]]

    def find(planes):
        return Logits(fused=planes.amax(dim=1, keepdim=True) - 0.5, scales=[])

    result = validation_dice(find, slices_of("A", images, targets), recipe, OneProcess())
    assert result.mean == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


def test_pixel_counts_are_exact_for_large_slices():
    # All 4097² = 16785409 pixels are predicted and all except one are lesion. float32 has no odd
    # numbers above 2²⁴ = 16777216, so it would give a Dice of 1.
    logits = torch.ones((), dtype=torch.float32).expand(1, 1, 4097, 4097)
    targets = np.ones((1, 1, 4097, 4097), np.uint8)
    targets[0, 0, 0, 0] = 0
    slices = Slices([scan("a", "")], np.zeros(1, int), np.zeros((1, 1, 1, 1), np.float32), targets)
    measured = validation_dice(lambda _: predict(logits), slices, RECIPE, OneProcess())
    assert measured.mean == 2 * 16785408 / (16785408 + 16785409)
    assert measured.mean < 1


def test_each_process_needs_a_slice():
    accelerator = OneProcess()
    accelerator.num_processes = 3
    slices = slices_of("AA", np.zeros((2, 1, 1, 1)), np.zeros((2, 1, 1, 1)))
    with pytest.raises(RecipeError, match="3 processes cannot share 2 validation slices"):
        validation_dice(predict, slices, RECIPE, accelerator)
