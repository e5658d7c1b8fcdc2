"""The empty-slice threshold of adaptive TTA, with values computed by hand."""

import numpy as np
import pytest

from wmh_train.calibration.adaptive_tta import SliceStatistics, empty_slice_threshold
from wmh_train.calibration.threshold_sweep import THRESHOLDS

AT_HALF = THRESHOLDS.index(0.5)


def statistics(max_probability, volume_mm3):
    volumes = np.zeros((len(max_probability), len(THRESHOLDS)))
    volumes[:, AT_HALF] = volume_mm3
    return SliceStatistics(np.array(max_probability, np.float32), volumes)


def test_volumes_are_computed_for_every_threshold():
    one, eight = np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 2), np.float32)
    one[0, 1, 1] = 0.7
    eight[0] = [[0.5, 0.49], [0.9, 0]]
    slices = SliceStatistics.from_probabilities(one, eight, voxel_volume_mm3=3)
    np.testing.assert_allclose(slices.max_probability, [0.7, 0])
    assert slices.volume_mm3[:, AT_HALF].tolist() == [6, 0]  # 0.5 and 0.9, of 3 mm³ each
    assert slices.volume_mm3[0, THRESHOLDS.index(0.45)] == 9


def test_the_result_is_half_of_the_largest_safe_value():
    # Slices below 0.4 contain 10 of 1000 mm³, exactly 1 %. With the slice of 0.4 it would be more.
    slices = statistics([0.1, 0.2, 0.3, 0.4, 0.9], [0, 10, 0, 8, 982])
    assert empty_slice_threshold([slices], 0.5) == pytest.approx(0.4 / 2)


def test_no_scan_loses_more_than_one_percent_of_its_own_volume():
    # The second scan has only 1 mm³, much less than 1 % of the first one.
    large, small = statistics([0.6, 0.9], [0, 60_000]), statistics([0.2, 0.3], [0, 1])
    assert empty_slice_threshold([large, small], 0.5) == pytest.approx(0.3 / 2)


def test_a_scan_without_lesion_has_no_effect():
    assert empty_slice_threshold(
        [statistics([0.3], [5]), statistics([0.1], [0])], 0.5
    ) == pytest.approx(0.3 / 2)


def test_without_any_lesion_the_result_is_0():
    assert empty_slice_threshold([statistics([0.1, 0.2], [0, 0])], 0.5) == 0
