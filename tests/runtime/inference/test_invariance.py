"""The mask of a scan does not depend on its intensity scale, its padding and a few odd voxels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.volume import scan_from_array
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.phantom.head import generate_phantom

_REAL = {  # raw with a removed background, 3 mm slices; brain-extracted with negative values
    "whole head": "open-ms/clinical/sub-L01/sub-L01_ses-2_FLAIR.nii.gz",
    "brain": "open-ms/mni/sub-19/sub-19_space-MNI_FLAIR.nii.gz",
}


@pytest.fixture(scope="module")
def segmenter():
    with Segmenter.from_bundle(load_bundle("demo"), InferenceOptions(tta="none")) as opened:
        yield opened


class Original:
    """A part of a scan, and its mask."""

    def __init__(self, segmenter, voxels, affine):
        self.segmenter, self.voxels, self.affine = segmenter, voxels, affine
        segmentation = self.segment(voxels)
        self.head, self.mask = segmentation.head, segmentation["wmh"].mask
        assert 0 < self.mask.sum() < 0.1 * self.head.sum()

    def segment(self, voxels):
        return self.segmenter.segment(scan_from_array(voxels, self.affine))

    def dice_of(self, voxels, crop=np.s_[:]):
        return dice_of_masks(self.segment(voxels)["wmh"].mask[crop], self.mask)


@pytest.fixture(scope="module", params=["phantom", *_REAL])
def original(request, segmenter):
    """Some slices with lesions: the whole scan would take too long for many examples."""
    if request.param == "phantom":
        phantom = generate_phantom(7, "utrecht", 40.0)
        return Original(segmenter, phantom.image[:, :, 24:30].astype(np.float32), phantom.affine)
    path = request.getfixturevalue("test_data") / _REAL[request.param]
    scan = read_scan(path)
    middle = round(0.6 * scan.shape[2])
    return Original(segmenter, scan.voxels[:, :, middle : middle + 6], scan.affine)


@settings(max_examples=3)
@given(st.integers(-30, 30))
def test_a_power_of_two_as_factor_does_not_change_a_voxel(original, exponent):
    mask = original.segment(original.voxels * np.float32(2.0**exponent))["wmh"].mask
    np.testing.assert_array_equal(mask, original.mask)


@settings(max_examples=4)
@given(factor=st.floats(1e-3, 1e3), offset=st.floats(-2, 2))
def test_factor_and_offset_do_not_change_the_mask(original, factor, offset):
    top = np.percentile(original.voxels, 99.9)
    assert original.dice_of((original.voxels + offset * top) * factor) >= 0.99


@settings(max_examples=4)
@given(value=st.floats(-1e9, 1e9, width=32), width=st.integers(1, 20))
def test_padding_does_not_change_the_mask(original, value, width):
    widths = ((width, 3), (0, width), (1, 0))
    x, y, _ = original.voxels.shape
    padded = np.pad(original.voxels, widths, constant_values=value)
    crop = np.s_[width : width + x, :y, 1:]
    assert original.dice_of(padded, crop) >= 0.99


def test_in_eight_views_a_mirrored_scan_has_the_mirrored_mask(original):
    with Segmenter.from_bundle(load_bundle("demo"), InferenceOptions(tta="full")) as segmenter:
        masks = [
            segmenter.segment(scan_from_array(voxels, original.affine))["wmh"].mask
            for voxels in (original.voxels, original.voxels[::-1], original.voxels[:, ::-1])
        ]
    for mirrored in (masks[1][::-1], masks[2][:, ::-1]):
        assert dice_of_masks(mirrored, masks[0]) >= 0.999


def test_overwritten_columns_do_not_change_the_mask(original):
    columns = original.voxels.copy()
    columns[:10] = -32768
    assert original.dice_of(columns) >= 0.99


@settings(max_examples=4)
@given(factor=st.sampled_from([-1e6, -10, 3, 20, 1e6]), seed=st.integers(0, 100))
def test_one_outlying_voxel_in_a_thousand_does_not_change_the_mask(original, factor, seed):
    voxels = original.voxels.copy()
    beside = np.flatnonzero(~original.mask.astype(bool).ravel())
    odd = np.random.default_rng(seed).choice(beside, voxels.size // 1000, replace=False)
    voxels.ravel()[odd] = factor * np.percentile(voxels, 99.9)
    # Few voxels of the mask are in these slices, and a damaged one may lie beside them.
    assert original.dice_of(voxels) >= 0.98


@pytest.mark.parametrize("background", [None, 0.0, -3.0, 2.0])
def test_z_scoring_within_the_head_does_not_change_the_mask(original, background):
    inside = original.voxels[original.head]
    z_scored = (original.voxels - inside.mean()) / inside.std()
    if background is not None:
        z_scored = np.where(original.head, z_scored, background)
    assert original.dice_of(z_scored) >= 0.99


@pytest.mark.parametrize("subject", ["sub-07", "sub-19"])
def test_z_scoring_where_a_brain_is_not_0_does_not_change_the_mask(segmenter, test_data, subject):
    scan = read_scan(test_data / f"open-ms/mni/{subject}/{subject}_space-MNI_FLAIR.nii.gz")
    voxels = scan.voxels[:, :, 40:90]  # removed background between the lobes
    inside = voxels[voxels != 0]
    z_scored = np.where(voxels != 0, (voxels - inside.mean()) / inside.std(), 0)
    assert Original(segmenter, voxels, scan.affine).dice_of(z_scored) >= 0.99


def test_min_max_scaling_does_not_change_the_mask(original):
    low, high = original.voxels.min(), original.voxels.max()
    assert original.dice_of(2 * (original.voxels - low) / (high - low) - 1) >= 0.99


@pytest.mark.parametrize("share", [0.02, 0.05, 0.07])
def test_air_that_was_cleared_hardly_changes_the_head(original, share):
    low, high = np.percentile(original.voxels, (0.5, 99.5))
    cleared = np.where(original.voxels < low + share * (high - low), 0, original.voxels)
    assert dice_of_masks(original.segment(cleared).head, original.head) >= 0.97
