"""Lesions of two masks on one grid of cubes: which belong together, and how large they are."""

import numpy as np
import pytest

from tests.runtime.change.visit_scans import SHAPE, box
from wmh_runtime.change.pair.matching import match_lesions
from wmh_runtime.change.rules import LINK_GAP_MM, ONE_PROTOCOL

NOTHING = np.zeros(SHAPE, bool)


def test_volumes_surfaces_and_center_of_one_lesion():
    # At first 4 x 3 x 2 voxels of 0.5 mm, then 4 x 5 x 2.
    before, after = box((2, 6), (4, 7), (3, 5)), box((2, 6), (4, 9), (3, 5))
    matched = match_lesions(before, after, 0.5, ONE_PROTOCOL)
    assert matched.before_mm3 == pytest.approx([24 * 0.125])
    assert matched.after_mm3 == pytest.approx([40 * 0.125])
    assert matched.before_mm2 == pytest.approx([2 * (12 + 8 + 6) * 0.25])
    assert matched.after_mm2 == pytest.approx([2 * (20 + 8 + 10) * 0.25])
    assert matched.uncertainty_mm3 == pytest.approx([ONE_PROTOCOL.lesion_mm * 19])
    np.testing.assert_allclose(matched.centers_vox, [[3.5, 6, 3.5]])  # at the later visit
    np.testing.assert_array_equal(matched.labels, after)


def test_the_surface_at_the_edge_of_the_image_counts():
    corner = box((0, 2), (0, 2), (0, 2))
    assert match_lesions(corner, NOTHING, 1.0, ONE_PROTOCOL).before_mm2 == pytest.approx([24])


def test_a_lesion_that_is_gone_keeps_its_earlier_center():
    matched = match_lesions(box((2, 5), (4, 7), (3, 6)), NOTHING, 1.0, ONE_PROTOCOL)
    np.testing.assert_allclose(matched.centers_vox, [[3, 5, 4]])
    assert matched.after_mm3 == [0]


def test_a_lesion_that_splits_is_one_lesion():
    whole = box((2, 14), (5, 9), (4, 8))
    parts = box((2, 6), (5, 9), (4, 8)) | box((10, 14), (5, 9), (4, 8))
    for before, after in ((whole, parts), (parts, whole)):
        matched = match_lesions(before, after, 1.0, ONE_PROTOCOL)
        assert sorted([*matched.before_mm3, *matched.after_mm3]) == [128, 192]


def test_a_gap_up_to_the_limit_is_bridged_and_a_larger_one_is_not():
    # At 1 mm, with two free voxels between the boxes, the gap is 2 mm.
    assert LINK_GAP_MM == 2
    before = box((2, 6), (5, 9), (4, 8))
    near, far = box((8, 12), (5, 9), (4, 8)), box((9, 13), (5, 9), (4, 8))
    assert len(match_lesions(before, near, 1.0, ONE_PROTOCOL).before_mm3) == 1
    assert len(match_lesions(before, far, 1.0, ONE_PROTOCOL).before_mm3) == 2


def test_lesions_are_numbered_by_their_larger_volume():
    small, large = box((2, 4), (2, 4), (2, 4)), box((12, 18), (12, 18), (2, 8))
    matched = match_lesions(small | large, small, 1.0, ONE_PROTOCOL)
    assert matched.before_mm3.tolist() == [216, 8]
    assert matched.after_mm3.tolist() == [0, 8]
    assert matched.labels[15, 15, 5] == 1
    assert matched.labels[3, 3, 3] == 2
    assert matched.classes == ["resolved", "stable"]
    assert np.unique(matched.class_map()).tolist() == [0, 4, 5]


def test_no_lesion_at_all():
    matched = match_lesions(NOTHING, NOTHING, 1.0, ONE_PROTOCOL)
    assert len(matched.before_mm3) == 0
    assert matched.classes == []
    assert not matched.class_map().any()


def test_the_shared_level_is_the_mean_of_the_lower_one():
    before, after = NOTHING, box((2, 4), (2, 4), (2, 4))
    levels = [np.zeros(SHAPE, np.float32), after.astype(np.float32)]
    levels[0][2:4, 2:4, 2] = 0.4  # half of the lesion
    matched = match_lesions(before, after, 1.0, ONE_PROTOCOL, (levels[0], levels[1]))
    assert matched.shared_level == pytest.approx([0.2])
    assert match_lesions(before, after, 1.0, ONE_PROTOCOL).shared_level == [0]
    assert match_lesions(after, after, 1.0, ONE_PROTOCOL).shared_level == [1]
