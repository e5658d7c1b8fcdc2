"""A scan on the grid of another one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.imageio.test_volume import oblique
from tests.toys import as_scan
from wmh_runtime.imageio.regrid import bring_to_grid

AFFINE = oblique((0.1, -0.2, 0.3), spacing_mm=(1.0, 1.2, 4.0))
SHAPE = (12, 10, 8)


def ramp(shape, affine, direction=(2.0, -1.0, 0.5)):
    """Intensities that rise evenly along a direction of the patient."""
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return (indices @ affine[:3, :3].T + affine[:3, 3]) @ direction


def test_on_the_same_grid_no_value_is_changed():
    scan = as_scan(np.arange(960).reshape(SHAPE), AFFINE)
    match = bring_to_grid(scan, as_scan(np.zeros(SHAPE), AFFINE))
    assert match.scan is scan
    assert match.covered is None
    mirrored = AFFINE @ np.array([[-1, 0, 0, 11], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    match = bring_to_grid(scan, as_scan(np.zeros(SHAPE), mirrored))
    np.testing.assert_array_equal(match.scan.voxels, scan.voxels[::-1])


@given(angles=st.tuples(*[st.floats(-3, 3)] * 3), spacing=st.floats(0.7, 1.5))
@settings(max_examples=25, deadline=None)
def test_a_ramp_stays_a_ramp_on_any_grid(angles, spacing):
    # Linear interpolation and averaging keep a linear function, but for the ends of the scan.
    affine = oblique(angles, (spacing, 1.1, 0.9), (0, 0, 0))
    shape = (40, 40, 40)
    middle = affine[:3, :3] @ np.full(3, 19.5)
    target = oblique((0, 0, 0), (1.0, 1.2, 2.0), middle - (3, 3.6, 6))
    scan = as_scan(ramp(shape, affine), affine)
    match = bring_to_grid(scan, as_scan(np.zeros((7, 7, 7)), target))
    assert match.covered.all()
    np.testing.assert_allclose(match.scan.voxels, ramp((7, 7, 7), target), atol=1e-3)
    np.testing.assert_array_equal(match.scan.affine, target)


def test_larger_voxels_show_the_mean_and_miss_no_thin_structure():
    # One bright column of 1 mm between samples of 3 mm: the voxel of 3 mm around column 4 has a
    # third of it. Interpolation alone would find 1 at column 4, and 0 if it were at column 5.
    for bright in (4, 5):
        voxels = np.zeros((12, 6, 6), np.float32)
        voxels[bright] = 1
        coarse = np.diag([3.0, 1, 1, 1])
        coarse[0, 3] = 1  # the centers are at columns 1, 4, 7, 10
        match = bring_to_grid(as_scan(voxels, np.eye(4)), as_scan(np.zeros((4, 6, 6)), coarse))
        assert match.scan.voxels[:, 2, 2].tolist() == pytest.approx([0, 1 / 3, 0, 0])


def test_outside_the_field_of_view_is_the_lowest_value_and_not_covered():
    voxels = np.full((4, 4, 4), 7.0)
    voxels[0, 0, 0] = -3
    shifted = np.eye(4)
    shifted[0, 3] = 2  # the grid begins at voxel 2 of the scan
    match = bring_to_grid(as_scan(voxels, np.eye(4)), as_scan(np.zeros((4, 4, 4)), shifted))
    assert match.scan.voxels[:, 1, 1].tolist() == [7, 7, -3, -3]
    assert match.covered[:, 1, 1].tolist() == [True, True, False, False]
    assert match.center_distance_mm == pytest.approx(2)


def test_single_slices_are_interpolated_too():
    voxels = np.arange(20, dtype=np.float32).reshape(4, 5, 1)
    half = np.eye(4)
    half[0, 3] = 0.5
    match = bring_to_grid(as_scan(voxels, np.eye(4)), as_scan(np.zeros((3, 5, 1)), half))
    assert match.scan.voxels[:, 0, 0].tolist() == [2.5, 7.5, 12.5]
