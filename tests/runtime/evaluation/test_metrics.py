import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmh_runtime.evaluation.metrics import (
    border,
    compare_masks,
    count_touched,
    hausdorff_95_mm,
    lesion_f1,
    volume_difference_percent,
)
from wmh_runtime.evaluation.reference_masks import Reference, read_reference
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.overlap import dice

# Voxels of 2 × 3 × 5 mm, turned by 30° about z and by 20° about x, with an offset.
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


def test_figures_of_overlapping_boxes():
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


def test_the_scorers_lesion_figures():
    """Of three lesions two are touched; of four detections one is on none, two are on one."""
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
    assert count_touched(corner, mask(np.s_[2, 2, 2])) == (1, 1)
    assert count_touched(apart, mask(np.s_[3, 1, 1])) == (1, 2)


def test_other_pathology_is_removed_from_the_prediction_before_anything_is_counted():
    """3 of 4 predicted voxels lie in other pathology, the fourth is right."""
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
def test_shares_are_cut_at_one_half_and_whole_numbers_at_one(dtype, value, is_lesion):
    lesion = mask(np.s_[4, 4, 1])
    assert compared(np.where(lesion, value, 0).astype(dtype), lesion).dice == float(is_lesion)


# As the table in the module's docstring: Dice, IoU, precision, recall, AVD, H95, then lesions.
NONE, SOME = mask(), mask(np.s_[2:4, 2:4, 1])
NAN = math.nan


@pytest.mark.parametrize(
    ("prediction", "lesion", "expected"),
    [
        (NONE, NONE, (1, 1, 1, 1, 0, NAN, 1, 1, 1)),
        (SOME, NONE, (0, 0, 0, 1, NAN, NAN, 1, 0, 0)),
        (NONE, SOME, (0, 0, 1, 0, 100, NAN, 0, 1, 0)),
    ],
)
def test_the_convention_for_empty_masks(prediction, lesion, expected):
    m = compared(prediction, lesion)
    voxels = (m.dice, m.iou, m.precision, m.recall, m.avd_percent, m.h95_mm)
    lesions = (m.lesion_recall, m.lesion_precision, m.lesion_f1)
    assert (*voxels, *lesions) == pytest.approx(expected, nan_ok=True)


def test_h95_of_a_shifted_square_is_the_shift():
    """A square of 5 × 5 voxels has a border of 16. Shifted by one voxel of 2 mm along x, the 5
    voxels of the side that is left and the inner 3 of the other side are 2 mm from the other
    border; the remaining 8 lie on it. Half of all are at 2 mm, so the 95th percentile is 2 mm.
    """
    first, second = mask(np.s_[1:6, 2:7, 1]), mask(np.s_[2:7, 2:7, 1])
    assert border(first, 2).sum() == 16
    assert hausdorff_95_mm(first, second, OBLIQUE) == pytest.approx(2)


def test_h95_interpolates_between_distances():
    """All of 10 voxels in a row are predicted, and one 5 voxels of 3 mm away from it.

    Distances to the reference: ten of 0 mm, one of 15 mm. The 95th percentile of 11 values lies
    at place 0.95 · 10 = 9.5, half-way between the tenth, 0, and the eleventh, 15 mm. The other
    way all are 0, and the larger way counts, whichever mask comes first.
    """
    row, more = mask(np.s_[1:11, 2, 1]), mask(np.s_[1:11, 2, 1], np.s_[5, 7, 1])
    assert hausdorff_95_mm(row, more, OBLIQUE) == pytest.approx(7.5)
    assert hausdorff_95_mm(more, row, OBLIQUE) == pytest.approx(7.5)


def test_distances_between_slices_count_in_mm():
    """The same voxel one slice of 5 mm higher."""
    low, high = mask(np.s_[3, 3, 1]), mask(np.s_[3, 3, 2])
    assert hausdorff_95_mm(low, high, OBLIQUE) == pytest.approx(5)


def test_the_border_is_that_within_a_slice():
    """The middle of 3 × 3 × 3 voxels is inside in each of the 3 slices, also the outer ones."""
    cube = mask(np.s_[4:7, 4:7, 1:4])
    assert border(cube, 2).sum() == 3 * 8
    assert not border(cube, 2)[5, 5, 1]


def test_a_corner_neighbor_outside_makes_border():
    """3 × 3 voxels without one corner: the middle touches the outside by that corner only."""
    notched = mask(np.s_[4:7, 4:7, 1])
    notched[4, 4, 1] = False
    assert border(notched, 2)[5, 5, 1]


def test_beyond_the_image_counts_as_inside():
    """A square of 3 × 3 in the image's corner: only the 5 voxels next to other ones are border."""
    assert border(mask(np.s_[0:3, 0:3, 1]), 2).sum() == 5
    whole_slice = mask(np.s_[:, :, 1])
    assert math.isnan(hausdorff_95_mm(whole_slice, whole_slice, OBLIQUE))


def test_the_slice_axis_is_the_axial_one_wherever_it_is_stored():
    """A square and its own border have the same border, within the slice they lie in.

    Within any other plane all voxels of the square are border, up to 3 voxels from that ring.
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
def test_swapping_the_masks_swaps_what_can_be_swapped(first, second):
    forth, back = compared(first, second), compared(second, first)
    assert forth.dice == back.dice
    assert forth.h95_mm == pytest.approx(back.h95_mm, nan_ok=True)
    assert (forth.precision, forth.lesion_recall) == (back.recall, back.lesion_precision)
    assert forth.iou == pytest.approx(forth.dice / (2 - forth.dice))


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


def test_counts_of_empty_masks_agree():
    assert dice(0, 0, 0) == 1
    assert volume_difference_percent(0, 0) == 0
    assert math.isnan(volume_difference_percent(1, 0))


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="expected"):
        compare_masks(np.zeros((2, 2, 2)), reference(NONE), OBLIQUE)


def test_real_lesions_against_themselves_and_shifted_by_a_voxel(test_data):
    """On isotropic voxels of 1 mm a shift by one voxel leaves each border voxel 0 or 1 mm away.

    Lesions are small, so many more than 5 % are not 0: the 95th percentile is 1 mm.
    """
    path = min(test_data.glob("open-ms/mni/*/*_lesion.nii.gz"))
    scan = read_scan(path)
    drawn = read_reference(path)
    assert scan.spacing_mm == (1, 1, 1)
    same = compare_masks(scan.voxels, drawn, scan.affine)
    assert (same.dice, same.h95_mm, same.avd_percent, same.lesion_f1) == (1, 0, 0, 1)
    for axis in range(3):
        shifted = compare_masks(np.roll(scan.voxels, 1, axis), drawn, scan.affine)
        assert shifted.h95_mm == pytest.approx(1)
        assert shifted.avd_percent == 0
        assert 0 < shifted.dice < 1
