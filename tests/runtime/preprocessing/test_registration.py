"""Rigid registration of a T1 to a FLAIR of the same head."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from tests.toys import as_scan
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.phantom.head import generate_phantom
from wmh_runtime.preprocessing.registration import register


def turned(axis, degrees, shift_mm):
    """A rotation about an axis of the patient, then a shift."""
    matrix, angle = np.eye(4), np.radians(degrees)
    one, two = (other for other in range(3) if other != axis)
    matrix[one, one] = matrix[two, two] = np.cos(angle)
    matrix[one, two], matrix[two, one] = -np.sin(angle), np.sin(angle)
    matrix[:3, 3] = shift_mm
    return matrix


def test_a_head_that_was_turned_and_shifted_is_brought_back():
    with coarse_phantoms():
        phantom = generate_phantom(12, "amsterdam", 8, with_t1=True)
    flair = as_scan(phantom.image, phantom.affine)
    t1 = as_scan(phantom.t1, phantom.affine, "t1.nii")
    # Half of the whole angle: cos 1.5° cos 2° = cos 2.5°, which is so to the fifth digit.
    moved = turned(2, 3, (8, 0, 0)) @ turned(0, -4, (0, 5, 6))
    found = register(replace(t1, affine=moved @ t1.affine), flair)
    assert found.is_applied
    assert found.similarity[1] > found.similarity[0]
    left = found.matrix @ moved  # the identity, if the registration is exact
    degrees = np.degrees(np.arccos(np.clip((np.trace(left[:3, :3]) - 1) / 2, -1, 1)))
    assert degrees < 0.5
    middle = t1.affine @ [*(np.array(t1.shape) - 1) / 2, 1]
    assert np.linalg.norm((left @ middle - middle)[:3]) < 0.5
    assert found.degrees == pytest.approx(5, abs=0.5)
    np.testing.assert_allclose(found.scan.affine, found.matrix @ moved @ t1.affine)
    assert found.scan.voxels is t1.voxels  # nothing is resampled


def test_sheared_axes_are_refused():
    sheared = np.eye(4)
    sheared[0, 1] = 0.2
    voxels = np.random.default_rng(0).random((8, 8, 8))
    with pytest.raises(InputError, match="axes that are not perpendicular"):
        register(as_scan(voxels, sheared), as_scan(voxels, np.eye(4)))


def test_images_of_different_places_are_refused():
    far = np.eye(4)
    far[0, 3] = 500
    voxels = np.random.default_rng(0).random((16, 16, 16))
    with pytest.raises(InputError, match=r"cannot be registered to a\.nii"):
        register(as_scan(voxels, far), as_scan(voxels, np.eye(4), "a.nii"))


def test_a_real_t1_with_thick_slices_is_brought_back(test_data):
    # Slices of 7 mm. A search with gradients ended 2.4 mm from the place of the data set.
    subject = "sub-T04"
    folder = test_data / "ms3seg" / subject
    flair, t1 = (read_scan(folder / f"{subject}_{name}.nii.gz") for name in ("FLAIR", "T1w"))
    middle = (flair.affine @ [*(np.array(flair.shape) - 1) / 2, 1])[:3]
    around = np.eye(4)
    around[:3, 3] = middle
    moved = around @ turned(0, 4, (5, -5, 4)) @ np.linalg.inv(around)
    left = register(replace(t1, affine=moved @ t1.affine), flair).matrix @ moved
    corners = np.array(list(product((-60, 60), (-70, 70), (-40, 50)))) + middle
    shifts_mm = np.linalg.norm(corners @ left[:3, :3].T + left[:3, 3] - corners, axis=1)
    assert shifts_mm.mean() < 0.8
