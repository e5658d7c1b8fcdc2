import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmh_runtime.evaluation.metrics import (
    border,
    compare_masks,
    count_detected_lesions,
    hausdorff_95_mm,
    lesion_f1,
    volume_difference_percent,
)
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.reference_masks import Reference, read_reference
from wmh_runtime.overlap import dice

# Voxels of 2 × 3 × 5 mm, rotated by 30° about z and by 20° about x, with an offset.
_TURN_Z = np.array([[math.cos(0.52), -math.sin(0.52), 0], [math.sin(0.52), math.cos(0.52), 0]])
_TURN_X = np.array(
    [[1, 0, 0], [0, math.cos(0.35), -math.sin(0.35)], [0, math.sin(0.35), math.cos(0.35)]]
)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = _TURN_X @ np.vstack([_TURN_Z, [0, 0, 1]]) @ np.diag([2.0, 3.0, 5.0])
OBLIQUE[:3, 3] = (-31, 12, 70)
SHAPE = (12, 11, 4)


def mask(*boxes):
    """A mask with the given boxes of voxels set."""
    voxels = np.zeros(SHAPE, bool)
    for box in boxes:
        voxels[box] = True
    return voxels


def reference(lesion, ignored=None):
    return Reference(lesion=lesion, ignored=np.zeros(SHAPE, bool) if ignored is None else ignored)


def compared(prediction, lesion, ignored=None, affine=OBLIQUE):
    return compare_masks(prediction, reference(lesion, ignored), affine)


def test_metrics_of_overlapping_boxes():
    """8 voxels in the reference, 12 predicted, 4 in common; a voxel has 2 · 3 · 5 = 30 mm³."""
    found = compared(mask(np.s_[2:5, 2:4, 1:3]), mask(np.s_[1:3, 2:4, 1:3]))
    assert found.dice == 2 * 4 / (8 + 12)
    assert found.iou == 4 / (8 + 12 - 4)
    assert found.precision == 4 / 12
    assert found.recall == 4 / 8
    assert found.avd_percent == 100 * (12 - 8) / 8
    assert found.reference_ml == pytest.approx(8 * 0.030)
    assert found.prediction_ml == pytest.approx(12 * 0.030)
    assert (found.lesion_recall, found.lesion_precision, found.lesion_f1) == (1, 1, 1)


def test_lesion_metrics_of_the_challenge():
    """Two of three lesions are detected. Of four predicted lesions, one is false."""
    lesions = mask(np.s_[0:6, 0:1, 0], np.s_[0:2, 4:6, 0], np.s_[9:11, 9:11, 3])
    found = mask(np.s_[0:1, 0:1, 0], np.s_[4:5, 0:1, 0], np.s_[1:2, 5:6, 0], np.s_[8, 3, 2])
    result = compared(found, lesions)
    assert (result.reference_lesions, result.predicted_lesions) == (3, 4)
    assert result.lesion_recall == 2 / 3
    assert result.lesion_precision == 3 / 4
    # 2 · (2/3) · (3/4) / (2/3 + 3/4) = 1 / (17/12)
    assert result.lesion_f1 == pytest.approx(12 / 17)


def test_voxels_that_share_a_corner_are_one_lesion():
    corner = mask(np.s_[1, 1, 1], np.s_[2, 2, 2])
    apart = mask(np.s_[1, 1, 1], np.s_[3, 1, 1])
    assert count_detected_lesions(corner, mask(np.s_[2, 2, 2])) == (1, 1)
    assert count_detected_lesions(apart, mask(np.s_[3, 1, 1])) == (1, 2)


def test_other_pathology_is_removed_from_the_prediction():
    """3 of 4 predicted voxels are other pathology, the fourth is correct."""
    found = compared(mask(np.s_[3:7, 3, 1]), mask(np.s_[6, 3, 1]), mask(np.s_[0:6, 3, 1]))
    assert (found.dice, found.avd_percent, found.h95_mm, found.precision) == (1, 0, 0, 1)
    assert (found.predicted_lesions, found.lesion_f1) == (1, 1)


@pytest.mark.parametrize(
    ("dtype", "value", "is_lesion"),
    [
        (np.float32, 0.5, True),
        (np.float32, np.nextafter(np.float32(0.5), np.float32(0)), False),
        (np.uint8, 1, True),
        (np.uint8, 255, True),
        (bool, True, True),
    ],
)
def test_the_threshold_is_one_half_for_probabilities_and_one_for_integers(dtype, value, is_lesion):
    lesion = mask(np.s_[4, 4, 1])
    assert compared(np.where(lesion, value, 0).astype(dtype), lesion).dice == float(is_lesion)


# As in the docstring of the module: Dice, IoU, precision, recall, AVD, H95, lesion metrics.
EMPTY, LESION = mask(), mask(np.s_[2:4, 2:4, 1])
NAN = math.nan


@pytest.mark.parametrize(
    ("prediction", "lesion", "expected"),
    [
        (EMPTY, EMPTY, (1, 1, 1, 1, 0, NAN, 1, 1, 1)),
        (LESION, EMPTY, (0, 0, 0, 1, NAN, NAN, 1, 0, 0)),
        (EMPTY, LESION, (0, 0, 1, 0, 100, NAN, 0, 1, 0)),
    ],
)
def test_metrics_of_empty_masks(prediction, lesion, expected):
    m = compared(prediction, lesion)
    voxels = (m.dice, m.iou, m.precision, m.recall, m.avd_percent, m.h95_mm)
    lesions = (m.lesion_recall, m.lesion_precision, m.lesion_f1)
    assert (*voxels, *lesions) == pytest.approx(expected, nan_ok=True)


def test_h95_of_a_shifted_square_is_the_shift():
    """A square of 5 × 5 voxels has 16 border voxels. It is shifted by one voxel of 2 mm along x.

    Then 8 border voxels (5 on the trailing side, 3 inner ones on the opposite side) are 2 mm from
    the other border; the other 8 are on it. Half of the distances are 2 mm, so the 95th
    percentile is 2 mm.
    """
    first, second = mask(np.s_[1:6, 2:7, 1]), mask(np.s_[2:7, 2:7, 1])
    assert border(first, 2).sum() == 16
    assert hausdorff_95_mm(first, second, OBLIQUE) == pytest.approx(2)


def test_h95_interpolates_between_distances():
    """A row of 10 voxels is predicted correctly, and one false voxel 5 · 3 mm away from it.

    Distances to the reference: ten of 0 mm, one of 15 mm. The 95th percentile of 11 values is at
    index 0.95 · 10 = 9.5, halfway between 0 mm and 15 mm. In the other direction all distances
    are 0. The larger value counts, in either order of the masks.
    """
    row, more = mask(np.s_[1:11, 2, 1]), mask(np.s_[1:11, 2, 1], np.s_[5, 7, 1])
    assert hausdorff_95_mm(row, more, OBLIQUE) == pytest.approx(7.5)
    assert hausdorff_95_mm(more, row, OBLIQUE) == pytest.approx(7.5)


def test_distances_between_slices_count_in_mm():
    """The same voxel one slice of 5 mm higher."""
    low, high = mask(np.s_[3, 3, 1]), mask(np.s_[3, 3, 2])
    assert hausdorff_95_mm(low, high, OBLIQUE) == pytest.approx(5)


def test_the_border_is_computed_within_each_slice():
    """In a cube of 3 × 3 × 3 voxels, the middle voxel of each of the 3 slices is not border."""
    cube = mask(np.s_[4:7, 4:7, 1:4])
    assert border(cube, 2).sum() == 3 * 8
    assert not border(cube, 2)[5, 5, 1]


def test_a_voxel_with_a_corner_neighbor_outside_is_border():
    """3 × 3 voxels without one corner: the middle touches the outside by that corner only."""
    notched = mask(np.s_[4:7, 4:7, 1])
    notched[4, 4, 1] = False
    assert border(notched, 2)[5, 5, 1]


def test_voxels_outside_the_image_count_as_inside():
    """In a square of 3 × 3 in a corner of the image, only 5 voxels are border."""
    assert border(mask(np.s_[0:3, 0:3, 1]), 2).sum() == 5
    whole_slice = mask(np.s_[:, :, 1])
    assert math.isnan(hausdorff_95_mm(whole_slice, whole_slice, OBLIQUE))


def test_the_slice_axis_is_axial_in_every_storage_order():
    """In its own slice, a square has the same border as its border ring.

    In any other plane, all voxels of the square are border, up to 3 voxels from the ring.
    """
    square = mask(np.s_[2:9, 2:9, 1])
    ring = border(square, 2)
    for stored in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        affine = OBLIQUE[:, [*stored, 3]]
        assert hausdorff_95_mm(square.transpose(stored), ring.transpose(stored), affine) == 0


masks = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).random(SHAPE) < (seed % 7) / 20
)


@given(masks, masks)
def test_swapped_masks_have_swapped_precision_and_recall(first, second):
    forward, back = compared(first, second), compared(second, first)
    assert forward.dice == back.dice
    assert forward.h95_mm == pytest.approx(back.h95_mm, nan_ok=True)
    assert (forward.precision, forward.lesion_recall) == (back.recall, back.lesion_precision)
    assert forward.iou == pytest.approx(forward.dice / (2 - forward.dice))


@given(masks)
def test_a_mask_agrees_with_itself(voxels):
    found = compared(voxels, voxels)
    assert (found.dice, found.iou, found.lesion_f1, found.avd_percent) == (1, 1, 1, 0)
    assert found.h95_mm == 0 or not voxels.any()


@pytest.mark.parametrize(
    ("recall", "precision", "expected"), [(0, 0, 0), (1, 0, 0), (1, 1, 1), (0.5, 1, 2 / 3)]
)
def test_lesion_f1_is_the_harmonic_mean(recall, precision, expected):
    assert lesion_f1(recall, precision) == pytest.approx(expected)


def test_metrics_of_zero_counts():
    assert dice(0, 0, 0) == 1
    assert volume_difference_percent(0, 0) == 0
    assert math.isnan(volume_difference_percent(1, 0))


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="expected"):
        compare_masks(np.zeros((2, 2, 2)), reference(EMPTY), OBLIQUE)


def test_real_lesions_with_themselves_and_shifted_by_a_voxel(test_data):
    """With isotropic voxels of 1 mm, a shift by one voxel moves each border voxel by 0 or 1 mm.

    Lesions are small, so much more than 5 % of the distances are 1 mm: this is the percentile.
    """
    path = min(test_data.glob("open-ms/mni/*/*_lesion.nii.gz"))
    scan = read_scan(path, allow_constant=True)
    drawn = read_reference(path)
    assert scan.spacing_mm == (1, 1, 1)
    same = compare_masks(scan.voxels, drawn, scan.affine)
    assert (same.dice, same.h95_mm, same.avd_percent, same.lesion_f1) == (1, 0, 0, 1)
    for axis in range(3):
        shifted = compare_masks(np.roll(scan.voxels, 1, axis), drawn, scan.affine)
        assert shifted.h95_mm == pytest.approx(1)
        assert shifted.avd_percent == 0
        assert 0 < shifted.dice < 1
