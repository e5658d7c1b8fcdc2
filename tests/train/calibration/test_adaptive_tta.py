"""Below which probability in one view a slice is taken for empty: numbers by hand."""

import numpy as np
import pytest

from wmh_train.calibration.adaptive_tta import SlicesSeen, empty_below
from wmh_train.calibration.threshold_sweep import THRESHOLDS

AT_HALF = THRESHOLDS.index(0.5)


def seen(strongest, volume_mm3):
    table = np.zeros((len(strongest), len(THRESHOLDS)))
    table[:, AT_HALF] = volume_mm3
    return SlicesSeen(np.array(strongest, np.float32), table)


def test_slices_are_counted_at_every_threshold():
    one, eight = np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 2), np.float32)
    one[0, 1, 1] = 0.7
    eight[0] = [[0.5, 0.49], [0.9, 0]]
    slices = SlicesSeen.of(one, eight, voxel_volume_mm3=3)
    np.testing.assert_allclose(slices.strongest, [0.7, 0])
    assert slices.volume_mm3[:, AT_HALF].tolist() == [6, 0]  # 0.5 and 0.9, of 3 mm³ each
    assert slices.volume_mm3[0, THRESHOLDS.index(0.45)] == 9


def test_half_of_the_weakest_slice_with_which_more_than_a_hundredth_would_be_lost():
    # Of 1000 mm³, slices below 0.4 hold 10 mm³: a hundredth. That of 0.4 would make it more.
    slices = seen([0.1, 0.2, 0.3, 0.4, 0.9], [0, 10, 0, 8, 982])
    assert empty_below([slices], 0.5) == pytest.approx(0.4 / 2)


def test_no_scan_loses_more_than_a_hundredth_of_its_own():
    # The second's 1 mm³ are all it has, and nothing beside the first's.
    large, small = seen([0.6, 0.9], [0, 60_000]), seen([0.2, 0.3], [0, 1])
    assert empty_below([large, small], 0.5) == pytest.approx(0.3 / 2)


def test_a_scan_without_lesion_says_nothing():
    assert empty_below([seen([0.3], [5]), seen([0.1], [0])], 0.5) == pytest.approx(0.3 / 2)


def test_where_nothing_is_found_nothing_is_certain():
    assert empty_below([seen([0.1, 0.2], [0, 0])], 0.5) == 0
