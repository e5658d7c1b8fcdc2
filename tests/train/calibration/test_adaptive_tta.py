"""The empty-slice threshold of adaptive TTA, with values computed by hand."""

import numpy as np
import pytest

from wmh_train.calibration.adaptive_tta import SliceStatistics, empty_slice_threshold
from wmh_train.calibration.calibrate import _Measurements
from wmh_train.calibration.threshold_sweep import THRESHOLDS

AT_HALF = THRESHOLDS.index(0.5)


def statistics(max_probability, pixels):
    at_all = np.zeros((len(max_probability), len(THRESHOLDS)), int)
    at_all[:, AT_HALF] = pixels
    return SliceStatistics(np.array(max_probability, np.float32), at_all)


def test_pixels_are_counted_for_every_threshold():
    one, eight = np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 2), np.float32)
    one[0, 1, 1] = 0.7
    eight[0] = [[0.5, 0.49], [0.9, 0]]
    slices = SliceStatistics.from_probabilities(one, eight)
    np.testing.assert_allclose(slices.max_probability, [0.7, 0])
    assert slices.pixels[:, AT_HALF].tolist() == [2, 0]  # 0.5 and 0.9
    assert slices.pixels[0, THRESHOLDS.index(0.45)] == 3


def test_each_plane_is_calibrated_by_its_own_slices():
    # One view sees the lesion well in axial slices, and only weakly in sagittal ones.
    one, eight = np.zeros((5, 1, 2, 2), np.float32), np.zeros((5, 1, 2, 2), np.float32)
    one[:, 0, 0, 0] = [0.1, 0.9, 0.8, 0.2, 0.1]
    eight[[1, 2, 3], 0, 0, 0] = 0.9
    measured = _Measurements()
    measured.add_slices({1: one, 8: eight}, slices_by_plane=[3, 2], outputs=1)
    planes = [plane for (plane,) in measured.statistics]
    assert [len(plane.pixels) for plane in planes] == [3, 2]
    assert empty_slice_threshold(planes[:1], 0.5) == pytest.approx(0.8 / 2)
    assert empty_slice_threshold(planes, 0.5) == pytest.approx(0.2 / 2)


def test_the_result_is_half_of_the_largest_safe_value():
    # Slices below 0.4 contain 10 of 1000 pixels, exactly 1 %; with that of 0.4 it would be more.
    slices = statistics([0.1, 0.2, 0.3, 0.4, 0.9], [0, 10, 0, 8, 982])
    assert empty_slice_threshold([slices], 0.5) == pytest.approx(0.4 / 2)


def test_no_scan_loses_more_than_one_percent_of_its_own_volume():
    # The second scan has only 1 pixel, much less than 1 % of the first one.
    large, small = statistics([0.6, 0.9], [0, 60_000]), statistics([0.2, 0.3], [0, 1])
    assert empty_slice_threshold([large, small], 0.5) == pytest.approx(0.3 / 2)


def test_a_scan_without_lesion_has_no_effect():
    assert empty_slice_threshold(
        [statistics([0.3], [5]), statistics([0.1], [0])], 0.5
    ) == pytest.approx(0.3 / 2)


def test_without_any_lesion_the_result_is_0():
    assert empty_slice_threshold([statistics([0.1, 0.2], [0, 0])], 0.5) == 0
