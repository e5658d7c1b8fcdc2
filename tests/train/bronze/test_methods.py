"""The methods find the lesions of a toy brain whose intensities are known."""

import numpy as np
import pytest

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from tests.toys import as_scan
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.phantom.cohort import plan_cohort, write_phantom
from wmh_train.bronze.brain import Brain, distance_mm, find_brain
from wmh_train.bronze.masks import METHODS, segment_scan
from wmh_train.bronze.outliers import segment_outliers
from wmh_train.bronze.top_hat import segment_top_hat

SPACING_MM = (3.0, 1.0, 2.0)


def toy_brain(*, lesion=1.6, noise=0.04, spacing_mm=SPACING_MM):
    """A box of white matter, with fluid in the middle and a lesion of 12 mm in each direction."""
    rng = np.random.default_rng(0)
    shape = tuple(round(120 / mm) for mm in spacing_mm)
    z, y, x = (np.arange(n) * mm for n, mm in zip(shape, spacing_mm, strict=True))
    box = np.ix_(z, y, x)

    def within(middle, side):
        near = [np.abs(axis - at) < side / 2 for axis, at in zip((z, y, x), middle, strict=True)]
        return near[0][:, None, None] & near[1][:, None] & near[2]

    mask = within((60, 60, 60), 110)
    intensity = np.where(mask, 1 + rng.normal(0, noise, shape), 0)
    intensity[within((60, 60, 60), 20)] = 0.2
    lesions = within((60, 80, 40), 12)
    intensity[lesions] = lesion
    assert len(box) == 3
    return Brain(intensity.astype(np.float32), mask, spacing_mm, None), lesions


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("spacing_mm", [SPACING_MM, (6.0, 1.0, 1.0)])
def test_a_bright_lesion_is_found_and_nothing_else(method, spacing_mm):
    brain, lesions = toy_brain(spacing_mm=spacing_mm)
    found = METHODS[method](brain)
    assert dice_of_masks(found, lesions) > 0.9
    without, _ = toy_brain(lesion=1.0, spacing_mm=spacing_mm)
    assert METHODS[method](without).mean() < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_nothing_outside_the_inner_brain_is_lesion(method):
    brain, _ = toy_brain()
    rim = brain.mask & ~brain.inside
    brain.intensity[rim] = 1.8  # cortex
    assert not (METHODS[method](brain) & ~brain.inside).any()


def test_the_threshold_of_outliers_is_35_spreads_above_the_mode():
    # Normal values of mean 1 and standard deviation 0.1: the threshold is 1 + 3.5 × 0.1 = 1.35.
    brain, lesions = toy_brain(lesion=1.30, noise=0.1)
    assert segment_outliers(brain)[lesions].mean() < 0.1
    brain, lesions = toy_brain(lesion=1.45, noise=0.1)
    assert segment_outliers(brain)[lesions].mean() > 0.9


def test_the_top_hat_needs_less_contrast_beside_the_ventricles():
    brain, _ = toy_brain(noise=0)
    brain.intensity[18:21, 75:85, 14:17] = 1.4  # 15 to 20 mm from the fluid in the middle
    brain.intensity[18:21, 100:108, 24:27] = 1.4  # 40 mm from it
    found = segment_top_hat(brain)
    assert found[18:21, 76:84, 14:17].mean() > found[18:21, 100:108, 24:27].mean() == 0


def test_distances_are_in_mm_along_each_axis():
    mask = np.ones((5, 5, 5), bool)
    mask[2, 2, 2] = False
    distances = distance_mm(mask, SPACING_MM)
    assert distances[1, 2, 2] == 3
    assert distances[2, 1, 2] == 1
    assert distances[2, 2, 1] == 2
    assert distances[2, 2, 2] == 0


def test_the_brain_of_a_phantom_is_found_in_any_orientation(tmp_path):
    with coarse_phantoms():
        write_phantom(plan_cohort(1, 3, (5, 5))[0], tmp_path)
    scan = read_scan(next(tmp_path.glob("*_FLAIR.nii.gz")))
    turned = as_scan(
        scan.voxels.transpose(2, 0, 1)[::-1],
        scan.affine
        @ np.array([[0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, scan.shape[2] - 1], [0, 0, 0, 1]]),
    )
    brain, of_turned = find_brain(scan), find_brain(turned)
    assert 800 < brain.mask.sum() * brain.voxel_mm3 / 1000 < 1800  # mL
    np.testing.assert_array_equal(brain.mask, of_turned.mask)
    mask, of_turned_mask = (segment_scan(one, "outliers") for one in (brain, of_turned))
    assert mask.shape == scan.shape
    np.testing.assert_array_equal(mask.transpose(2, 0, 1)[::-1], of_turned_mask)


def test_an_image_without_tissue_is_refused():
    voxels = np.zeros((60, 60, 20), np.float32)
    voxels[::2, ::2] = 100  # single bright voxels, no body of tissue
    with pytest.raises(InputError, match=r"shows no (brain|head)"):
        find_brain(as_scan(voxels, np.diag([2, 2, 4, 1])))
