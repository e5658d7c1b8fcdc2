from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from tests.toys import as_scan
from wmh_runtime import Segmenter, load_bundle
from wmh_runtime.image_quality.quality import measure_quality
from wmh_runtime.image_quality.slices import Slices
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.phantom.head import generate_phantom
from wmh_runtime.preprocessing.head_mask import find_head
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess

NAMES = [
    "noise",
    "ghosting",
    "slice_motion",
    "slice_brightness",
    "field_of_view",
    "bias",
]


def coarse_case():
    """A coarse oblique phantom, and regions by intensity: they need not be right here."""
    with coarse_phantoms():
        phantom = generate_phantom(3, "singapore", 10)
    scan = as_scan(phantom.image, phantom.affine)
    reorientation = axial_reorientation(scan.affine)
    stack = np.ascontiguousarray(reorientation.apply(scan.voxels))
    head = np.ascontiguousarray(reorientation.undo(find_head(stack, scan.voxel_volume_mm3).mask))
    brain = np.zeros_like(head)
    brain[30:90, 30:100, 4:20] = True
    level = np.median(scan.voxels[brain])
    white = brain & (abs(scan.voxels / level - 1) < 0.2)
    regions = {"brain": brain, "white": white}
    return scan, head, regions, phantom.lesions


CASE = coarse_case()
VALUES = [one.value for one in measure_quality(*CASE)]


def in_other_order(case, axes, flips):
    """The same voxels at the same places, stored in another order."""
    scan, head, regions, lesions = case
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in flips)

    def reorder(volume):
        return np.ascontiguousarray(volume.transpose(axes)[steps])

    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
        matrix[old, new] = -1 if flip else 1
        matrix[old, 3] = scan.shape[old] - 1 if flip else 0
    other = as_scan(reorder(scan.voxels), scan.affine @ matrix)
    return other, reorder(head), {k: reorder(v) for k, v in regions.items()}, reorder(lesions)


def values_of(*case):
    return [one.value for one in measure_quality(*case)]


def test_all_measures_of_a_whole_head_are_there_in_order():
    measures = measure_quality(*CASE)
    assert [one.name for one in measures] == NAMES
    assert None not in VALUES


@settings(max_examples=15)
@given(
    axes=st.sampled_from(list(permutations(range(3)))),
    flips=st.tuples(*[st.booleans()] * 3),
    factor=st.floats(1e-3, 1e4),
)
def test_order_of_voxels_and_scale_of_intensities_do_not_matter(axes, flips, factor):
    scan, *masks = in_other_order(CASE, axes, flips)
    scaled = as_scan(scan.voxels * np.float32(factor), scan.affine)
    assert values_of(scaled, *masks) == pytest.approx(VALUES, rel=1e-3, abs=1e-3)


def test_slices_are_across_the_longest_voxel_axis():
    spacing_mm = (5.0, 1.0, 2.0)  # sagittal slices: x is thick
    scan = as_scan(np.arange(4 * 5 * 6).reshape(4, 5, 6), np.diag([*spacing_mm, 1.0]))
    nothing = np.zeros(scan.shape, bool)
    slices = Slices.of(scan, nothing, {}, nothing)
    assert slices.spacing_mm == (5.0, 2.0, 1.0)
    # +x is to the right, so slices begin at the left or right, rows go down, columns to the back.
    assert slices.sides[0] in {("right", "left"), ("left", "right")}
    assert slices.sides[1:] == (("top", "bottom"), ("front", "back"))
    axial = as_scan(scan.voxels, np.diag([1.2, 1.0, 1.1, 1.0]))  # about isotropic
    assert Slices.of(axial, nothing, {}, nothing).spacing_mm == (1.1, 1.0, 1.2)


@pytest.mark.parametrize(("axes", "flips"), [((0, 1, 2), (0, 0, 0)), ((2, 0, 1), (1, 0, 1))])
def test_the_background_of_the_preprocessing_is_the_one_that_is_found(axes, flips):
    scan, *masks = in_other_order(CASE, axes, flips)
    padded = scan.voxels.copy()
    padded[:3] = padded[:, :, -2:] = 0
    scan = as_scan(padded, scan.affine)
    background = preprocess([scan], Preprocessing(pixel_size_mm=2, size_px=112)).background
    assert background.any()
    known = Slices.of(scan, *masks, background)
    np.testing.assert_array_equal(known.background, Slices.of(scan, *masks).background)


def test_lesions_are_not_white_matter():
    scan, head, regions, _ = CASE
    lesions = regions["white"].copy()
    lesions[60:] = False
    left = Slices.of(scan, head, regions, lesions).white
    white = Slices.of(scan, head, regions, np.zeros_like(lesions)).white
    assert 0 < np.count_nonzero(left) == np.count_nonzero(white) - np.count_nonzero(lesions)


def test_without_regions_moved_slices_are_still_measured():
    scan, head, _, lesions = CASE
    measures = {one.name: one for one in measure_quality(scan, head, {}, lesions)}
    known = {name for name, one in measures.items() if one.value is not None}
    assert known == {"slice_motion"}


def test_intensities_with_an_offset_are_not_compared():
    scan, *masks = CASE
    scored = as_scan((scan.voxels - scan.voxels.mean()) / scan.voxels.std(), scan.affine)
    known = {one.name for one in measure_quality(scored, *masks) if one.value is not None}
    assert known == {"slice_motion", "field_of_view"}


def test_an_empty_head_and_lesions_everywhere_are_not_measurable():
    scan, head, regions, _ = CASE
    nothing = np.zeros_like(head)
    empty = dict.fromkeys(regions, nothing)
    assert values_of(scan, nothing, empty, ~nothing) == [None] * len(NAMES)


@pytest.fixture(scope="module")
def segmenter():
    options = InferenceOptions(tta="none", backend="onnxruntime")
    with Segmenter.from_bundle(load_bundle(), options) as opened:
        yield opened


def measured(segmenter, scan):
    found = segmenter.segment(scan)
    measures = measure_quality(scan, found.head, found.regions, found["wmh"].mask)
    return {one.name: one for one in measures}


def real(test_data: Path, name: str):
    return read_scan(test_data / name)


def test_a_good_whole_head_is_not_flagged_until_it_is_noisy(test_data, segmenter):
    scan = real(test_data, "ms3seg/sub-T01/sub-T01_FLAIR.nii.gz")
    good = measured(segmenter, scan)
    assert not any(one.is_flagged for one in good.values())
    assert None not in [one.value for one in good.values()]
    level = np.percentile(scan.voxels, 97)  # at least that of white matter
    noise = np.random.default_rng(0).normal(0, 0.25 * level, scan.shape)
    noisy = as_scan(abs(scan.voxels + noise), scan.affine)
    assert measured(segmenter, noisy)["noise"].is_flagged


def test_a_head_without_its_top_is_flagged(test_data, segmenter):
    # The last slice shows brain of about 40 cm², seen in its picture.
    scan = real(test_data, "ms3seg/sub-T05/sub-T05_FLAIR.nii.gz")
    found = measured(segmenter, scan)
    assert "at the top of the image" in found["field_of_view"].warning
    assert [name for name, one in found.items() if one.is_flagged] == ["field_of_view"]


def test_a_brain_without_air_has_no_ghosts_to_measure(test_data, segmenter):
    scan = real(test_data, "open-ms/mni/sub-19/sub-19_space-MNI_FLAIR.nii.gz")
    found = measured(segmenter, scan)
    assert [name for name, one in found.items() if one.value is None] == ["ghosting"]
    assert not any(one.is_flagged for one in found.values())
