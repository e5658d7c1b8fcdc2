from dataclasses import replace

import numpy as np
import pytest

from tests.toys import as_scan
from wmh_runtime.postprocessing.lesions import find_lesions
from wmh_runtime.postprocessing.plausibility import plausibility_warnings, region_warnings

# Rows of 2 mm, columns of 4 mm, slices of 5 mm: 8 mm are 4 rows or 2 columns.
AFFINE = np.diag([-4.0, -2.0, 5.0, 1.0])


def warnings_of(lesion, lesion_intensity=300.0):
    """A head of 20 × 40 voxels with intensity 100 in an image of 30 × 60, and one lesion box."""
    voxels = np.zeros((30, 60, 3), np.float32)
    head = np.zeros(voxels.shape, bool)
    head[5:25, 10:50] = True
    voxels[head] = 100
    voxels[lesion] = lesion_intensity
    probability = np.zeros_like(voxels)
    probability[lesion] = 1
    lesions = find_lesions(probability, threshold=0.5, min_lesion_mm3=0, voxel_volume_mm3=40)
    return plausibility_warnings("wmh", as_scan(voxels, AFFINE), head, lesions)


def test_what_was_left_out_outside_the_brain_is_said_if_it_is_much():
    voxels = np.full((10, 10, 10), 100.0, np.float32)
    probability = np.zeros(voxels.shape, np.float32)
    probability[1:4, 1:4, 1:5] = probability[6:9, 6:9, 6:9] = 1  # 36 and 27 voxels of 40 mm³
    brain = np.zeros(voxels.shape, bool)
    brain[5:] = True
    lesions = find_lesions(
        probability, threshold=0.5, min_lesion_mm3=0, voxel_volume_mm3=40, brain=brain
    )
    head = np.ones(voxels.shape, bool)
    found = plausibility_warnings("wmh", as_scan(voxels, AFFINE), head, lesions)
    assert found[0].startswith("1.4 mL of possible wmh lesions lie outside the brain")
    few = replace(lesions, outside_ml=0.09)  # of 1.17 mL
    found = plausibility_warnings("wmh", as_scan(voxels, AFFINE), head, few)
    assert not any("outside" in warning for warning in found)


def test_bright_lesions_in_the_middle_are_plausible():
    assert warnings_of(np.s_[10:15, 20:30, 1]) == []


def test_no_lesions_are_plausible():
    assert warnings_of(np.s_[0:0, 0:0, 0]) == []


def test_dark_lesions_are_doubtful():
    (warning,) = warnings_of(np.s_[10:15, 20:30, 1], lesion_intensity=50)
    assert warning.startswith("the wmh lesions are darker (median 50) than the head (median 100)")


def test_the_surface_is_8_mm_thick_along_rows_and_columns():
    # The head begins at index 5 of the axis with 4 mm, and 10 of the axis with 2 mm.
    # 8 mm deeper are the indices 7 and 14.
    assert warnings_of(np.s_[7:9, 20:30, 1]) == []
    assert warnings_of(np.s_[10:12, 14:20, 1]) == []
    (columns,) = warnings_of(np.s_[5:7, 20:30, 1])
    (rows,) = warnings_of(np.s_[10:12, 13:14, 1])
    assert columns.startswith("100% of the wmh volume lies within 8 mm of the surface of the head")
    assert rows.startswith("100% of the wmh volume")


def test_a_quarter_of_the_volume_may_lie_near_the_surface():
    assert warnings_of(np.s_[6:10, 20:30, 1]) == []  # column 6 of 6 to 9
    (warning,) = warnings_of(np.s_[6:9, 20:30, 1])  # column 6 of 6 to 8
    assert warning.startswith("33% of the wmh volume")


def warnings_of_brain(surface, radius_mm=60.0, ventricles_mm=15.0, channel="flair"):
    """A ball with intensity 100 in its middle and another one within 6 mm of its surface."""
    grid = np.indices((100, 100, 80)).T * (2, 2, 2.5) - (100, 100, 100)
    distance_mm = np.linalg.norm(grid, axis=-1).T
    brain = distance_mm <= radius_mm
    voxels = np.full(brain.shape, 20, np.float32)  # fluid around it
    voxels[brain] = 100
    voxels[brain & (distance_mm > radius_mm - 6)] = surface
    ventricles = distance_mm < ventricles_mm
    voxels[ventricles] = 20
    scan = as_scan(voxels, np.diag([2.0, 2.0, 2.5, 1.0]))
    regions = {"brain": brain, "ventricles": ventricles}
    return region_warnings({channel: scan}, np.ones(voxels.shape, bool), regions)


@pytest.mark.parametrize("surface", [120, 98])
def test_a_brain_whose_surface_is_as_bright_as_in_flair_is_plausible(surface):
    assert warnings_of_brain(surface) == []


def test_a_brain_with_a_dark_surface_as_in_t1_is_doubtful():
    (warning,) = warnings_of_brain(surface=76)  # (76 − 20) / (100 − 20) = 0.7
    assert warning.startswith("the surface of the brain is darker than its middle (0.70 of it)")


def test_the_contrast_of_a_t1_is_checked_the_other_way_round():
    assert warnings_of_brain(surface=76, channel="t1") == []
    (warning,) = warnings_of_brain(surface=120, channel="t1")  # (120 − 20) / (100 − 20) = 1.25
    assert warning.startswith("the surface of the brain is as bright as its middle (1.25 of it)")


def test_large_ventricles_do_not_hide_a_t1():
    # Ventricles of 38 mm radius, as dark as the fluid, fill half of what lies 12 mm deep.
    (warning,) = warnings_of_brain(surface=76, ventricles_mm=38)
    assert "darker than its middle (0.70 of it)" in warning


@pytest.mark.parametrize(("radius_mm", "millilitres"), [(10, "4.0"), (41, "289")])
def test_ventricles_of_impossible_size_are_doubtful(radius_mm, millilitres):
    (warning,) = warnings_of_brain(120, ventricles_mm=radius_mm)
    assert warning.startswith(f"the lateral ventricles measure {millilitres}")
    assert "expected 5 to 250" in warning


@pytest.mark.parametrize(("radius_mm", "millilitres"), [(45, "38"), (90, "30")])
def test_a_brain_of_impossible_size_is_doubtful(radius_mm, millilitres):
    (warning,) = warnings_of_brain(120, radius_mm)
    assert warning.startswith(f"the brain measures {millilitres}")
    assert "expected 500 to 2200" in warning


def test_without_regions_nothing_is_said():
    scan = as_scan(np.ones((2, 2, 2), np.float32), AFFINE)
    assert region_warnings({"flair": scan}, np.ones((2, 2, 2), bool), {}) == []
