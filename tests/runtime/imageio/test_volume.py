"""Scans on one grid whose voxels are stored in different orders."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toys import as_scan
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.volume import on_grid_of, scan_from_array

SHAPE = (4, 5, 6)


def oblique(angles, spacing_mm=(0.9, 1.1, 3.0), shift_mm=(-71.0, 33.5, 12.25)):
    """An affine with anisotropic voxels, turned about x, y and z."""
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        one, two = (other for other in range(3) if other != axis)
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ turn
    return nib.affines.from_matvec(rotation @ np.diag(spacing_mm), shift_mm)


def moved(affine, shift_mm):
    """The same grid, farther to the right."""
    return np.array([[1, 0, 0, shift_mm], *np.eye(4)[1:]]) @ affine


def counted(affine):
    return as_scan(np.arange(np.prod(SHAPE)).reshape(SHAPE), affine, "scan.nii")


orders = st.tuples(
    st.permutations(range(3)), st.tuples(*[st.sampled_from([1, -1])] * 3), st.floats(-0.05, 0.05)
)
angles = st.tuples(*[st.floats(-3.1, 3.1)] * 3)


@settings(max_examples=40)
@given(angles=angles, order=orders)
def test_voxels_in_any_order_are_brought_to_the_order_of_the_other_scan(angles, order):
    axes, signs, shift_mm = order
    scan = counted(oblique(angles))
    image = nib.Nifti1Image(scan.voxels, scan.affine)
    stored = image.as_reoriented(np.array([axes, signs]).T)
    other = as_scan(stored.get_fdata(), moved(stored.affine, shift_mm), "other.nii")
    back = on_grid_of(other, scan)
    np.testing.assert_array_equal(back.voxels, scan.voxels)
    np.testing.assert_allclose(back.affine, moved(scan.affine, shift_mm), atol=1e-9)
    assert back.path == other.path


def test_a_scan_in_the_same_order_is_returned_as_it_is():
    scan = counted(oblique((0.3, -0.2, 2)))
    assert on_grid_of(scan, scan) is scan


def test_a_known_case():
    # Voxels of 1 × 2 × 3 mm from -10 to -7 mm, to the right, and from -7 to -10 mm, to the left.
    ras = nib.affines.from_matvec(np.diag([1.0, 2, 3]), [-10, -20, -30])
    las = nib.affines.from_matvec(np.diag([-1.0, 2, 3]), [-7, -20, -30])
    scan, mask = counted(ras), counted(las)
    reordered = on_grid_of(mask, scan)
    np.testing.assert_array_equal(reordered.voxels, mask.voxels[::-1])
    np.testing.assert_array_equal(reordered.affine, ras)


@pytest.mark.parametrize(
    ("affine", "says"),
    [
        (moved(np.diag([1.0, 2, 3, 1]), 0.2), "up to 0.2 mm apart"),
        # 4 voxels in a row: the last is 3 · 0.1 mm away.
        (np.diag([1.1, 2, 3, 1]), "up to 0.3 mm apart"),
        # The same positions on the wrong side of the patient.
        (np.diag([-1.0, 2, 3, 1]), "up to 3.0 mm apart"),
    ],
)
def test_another_grid_is_refused(affine, says):
    with pytest.raises(InputError, match=f"other.nii: is not on the grid of scan.nii: .*{says}"):
        on_grid_of(as_scan(np.zeros(SHAPE), affine, "other.nii"), counted(np.diag([1.0, 2, 3, 1])))


def test_another_shape_is_refused_with_both_grids():
    other = as_scan(np.zeros((4, 5, 7)), np.diag([1, 2, 2.5, 1]), "other.nii")
    says = r"4 × 5 × 7 voxels of 1 × 2 × 2\.5 mm, expected 4 × 5 × 6 voxels of 1 × 2 × 3 mm"
    with pytest.raises(InputError, match=says):
        on_grid_of(other, counted(np.diag([1.0, 2, 3, 1])))


@pytest.mark.parametrize("affine", [None, np.eye(3), [1, 2, 3]])
def test_an_affine_that_is_no_affine_is_refused(affine):
    with pytest.raises(InputError, match=r"has an affine of shape \(.*\), expected \(4, 4\)"):
        scan_from_array(np.arange(60.0).reshape(3, 4, 5), affine)


def test_an_array_of_true_and_false_is_a_mask():
    with pytest.raises(InputError, match="is a mask of true and false"):
        scan_from_array(np.ones((3, 4, 5), bool), np.eye(4))


def test_an_array_of_complex_numbers_is_refused():
    with pytest.raises(InputError, match="complex"):
        scan_from_array(np.full((3, 4, 5), 1 + 2j), np.eye(4))
