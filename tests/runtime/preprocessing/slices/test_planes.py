"""Slices in three planes: where they show what, how their results are pooled, and thick voxels."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import as_scan
from wmh_runtime.imageio.orientation import Reorientation
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess
from wmh_runtime.preprocessing.slices.planes import PLANES, planes_of, slice_count

THREE = Preprocessing(pixel_size_mm=2.0, size_px=40, planes=PLANES)
AXIAL = Preprocessing(pixel_size_mm=2.0, size_px=40)
AFFINE = np.array([[0, 0, 2, -20], [-2, 0, 0, 60], [0, 2, 0, -30], [0, 0, 0, 1.0]])
# Voxel axes run to P, S and R, each 2 mm: a sagittal acquisition.


def head():
    """A block of 28 (P) × 24 (S) × 20 (R) voxels in a volume of 34 × 30 × 26."""
    volume = np.zeros((34, 30, 26), np.float32)
    p, s, r = np.ogrid[:28, :24, :20]
    volume[3:31, 3:27, 3:23] = 100 + (3 * p + 5 * s + 7 * r) % 11
    return volume


def prepared(preprocessing=THREE, affine=AFFINE):
    return preprocess([as_scan(head(), affine)], preprocessing)


def test_the_slices_of_each_plane_follow_those_of_the_plane_before():
    three = prepared()
    assert three.slices_by_plane == [24, 20, 28]
    assert three.slices.shape == (72, 1, 40, 40)
    assert three.slice_count == 30 + 26 + 34
    np.testing.assert_array_equal(three.slices[:24], prepared(AXIAL).slices)


def test_each_plane_shows_a_marked_voxel_where_radiologists_expect_it():
    # The mark: 4 voxels from the front of the head, 6 from its lower end, 3 from the right. The
    # block is in the middle of each slice: 40 pixels, so of 28 voxels the first is at pixel 6.
    mark = np.zeros((34, 30, 26))
    mark[3 + 4, 3 + 6, 25 - 3 - 3] = 1  # R: the higher, the more right
    slices = prepared().geometry.to_network(mark)
    found = [tuple(index) for index in np.argwhere(slices > 0.99).tolist()]
    axial, sagittal, coronal = found
    assert axial == (6, 6 + 4, 10 + 3)  # upward; anterior on top; the patient's right on the left
    # From right to left; superior on top, 24 - 1 - 6 = 17 below it; anterior on the left.
    assert sagittal == (24 + 3, 8 + 17, 6 + 4)
    # From front to back; superior on top; the patient's right on the left.
    assert coronal == (24 + 20 + 4, 8 + 17, 10 + 3)


def test_the_result_is_the_mean_of_the_planes():
    three = prepared()
    probabilities = np.repeat(np.float32([0.9, 0.3, 0.6]), three.slices_by_plane)
    slices = np.broadcast_to(probabilities[:, None, None], (72, 40, 40))
    result = three.geometry.to_scan(slices)
    assert result.shape == (34, 30, 26)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[3:31, 3:27, 3:23], 0.6, atol=1e-6)
    # Above the head there is no axial slice, only sagittal and coronal ones.
    np.testing.assert_allclose(result[10, 28, 10], (0.3 + 0.6) / 3, atol=1e-6)


# Head of 48 mm from top to bottom, 40 mm from side to side, and 56 mm from front to back.
NARROW = Preprocessing(pixel_size_mm=2.0, size_px=22, planes=PLANES)  # a field of 44 mm


def test_a_head_taller_than_the_field_is_cut_below_and_not_above():
    found = prepared(NARROW)
    field = found.geometry.planes[1].field()
    inside = np.flatnonzero(field.any(axis=(0, 2)))  # voxels from bottom to top
    # The head has the voxels 3 to 26; 22 of them fit, from the top.
    assert (inside[0], inside[-1]) == (5, 26)
    axial = np.flatnonzero(found.geometry.planes[0].field().any(axis=(1, 2)))
    assert (axial[0], axial[-1]) == (6, 27)  # in the middle of 3 to 30


def test_a_voxel_has_the_mean_of_the_planes_whose_field_has_it():
    geometry = prepared(NARROW).geometry
    probabilities = np.repeat(np.float32([0.9, 0.3, 0.6]), geometry.slices_by_plane)
    result = geometry.to_scan(np.broadcast_to(probabilities[:, None, None], (72, 22, 22)))
    np.testing.assert_allclose(result[17, 15, 13], 0.6, atol=1e-6)
    np.testing.assert_allclose(result[17, 4, 13], 0.9, atol=1e-6)  # too low for the others
    np.testing.assert_allclose(result[29, 15, 13], 0.6, atol=1e-6)  # too far back: coronal
    assert geometry.planes_by_voxel()[17, 15, 13] == 3
    assert geometry.planes_by_voxel()[17, 4, 13] == 1
    assert geometry.planes_by_voxel()[29, 15, 13] == 1
    assert geometry.planes_by_voxel()[29, 4, 13] == 0


def test_the_slices_stay_as_they_are_in_caches_of_trainings():
    """If they change, increase `_PLANES_FORMAT` in wmh_train/data/cache_entry.py."""
    for preprocessing, sha256 in ((NARROW, "acb698409741d233"), (THREE, "bcfadd6ee1f5f406")):
        slices = prepared(preprocessing).geometry.to_network(head())
        assert hashlib.sha256(slices.astype(np.float16).tobytes()).hexdigest()[:16] == sha256


def test_what_no_plane_shows_is_warned_of():
    # In voxels: 6 of 28 are outside from front to back, and 2 of 24 from top to bottom.
    (warning,) = [line for line in prepared(NARROW).warnings if "of the head lies outside" in line]
    assert f"{6 / 28 * 2 / 24:.1%} of the head lies outside the network's 44 mm field" in warning
    assert not [line for line in prepared().warnings if "of the head lies outside" in line]


def test_each_voxel_has_the_number_of_the_output_with_the_highest_mean():
    three = prepared()
    of_planes = np.float32([[0.9, 0.5], [0.3, 0.8], [0.6, 0.65]])  # means 0.6 and 0.65
    by_slice = np.repeat(of_planes, three.slices_by_plane, axis=0)
    slices = np.broadcast_to(by_slice[..., None, None], (72, 2, 40, 40)).copy()
    inside = (slice(3, 31), slice(3, 27), slice(3, 23))
    assert (three.geometry.to_scan_numbers(slices, 0.5, [0, 1])[inside] == 2).all()
    slices[:, 1] = 0.5  # less than 0.6
    assert (three.geometry.to_scan_numbers(slices, 0.5, [0, 1])[inside] == 1).all()
    assert not three.geometry.to_scan_numbers(slices, 0.7, [0, 1]).any()


def test_a_volume_returns_from_the_slices_of_all_planes():
    bump = np.zeros((34, 30, 26))
    p, s, r = np.ogrid[:34, :30, :26]
    bump[:] = np.exp(-((p - 14) ** 2 + (s - 11) ** 2 + (r - 9) ** 2) / (2 * 3.0**2))
    geometry = prepared().geometry
    back = geometry.to_scan(geometry.to_network(bump))
    # Pixels are as large as voxels: nothing is lost within the head.
    np.testing.assert_allclose(back[3:31, 3:27, 3:23], bump[3:31, 3:27, 3:23], atol=1e-6)


def test_neighbors_are_of_the_same_plane():
    changes = {"context_slices": 1, "planes": PLANES}
    slices = prepared(AXIAL.model_copy(update=changes)).slices
    alone = prepared().slices[:, 0]
    for first, count in ((0, 24), (24, 20), (44, 28)):
        last = first + count - 1
        for middle in (first, first + 7, last):
            below, above = max(first, middle - 1), min(last, middle + 1)
            np.testing.assert_array_equal(slices[middle], alone[[below, middle, above]])


@pytest.mark.parametrize(("thickness_mm", "planes"), [(6.0, 3), (6.1, 1)])
def test_thick_slices_are_segmented_in_axial_slices_only_with_a_warning(thickness_mm, planes):
    affine = AFFINE.copy()
    affine[2, 1] = thickness_mm
    found = prepared(affine=affine)
    assert len(found.geometry.planes) == planes
    warnings = [line for line in found.warnings if "segmented in axial slices only" in line]
    assert len(warnings) == (planes == 1)
    if warnings:
        assert "axial, sagittal and coronal slices" in warnings[0]
        assert "voxels are 6.1 mm long, at most 6" in warnings[0]
        np.testing.assert_array_equal(found.slices, prepared(AXIAL, affine).slices)


def test_the_rounding_of_a_tilted_affine_does_not_decide():
    for degrees in range(31):
        angle = np.deg2rad(degrees)
        tilt = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
        affine = np.float32(np.array(tilt) * [0.9, 0.9, 6.0])
        spacing = np.linalg.norm(affine.astype(float), axis=0)
        assert planes_of(PLANES, tuple(spacing)) == PLANES
    assert planes_of(PLANES, (6.002, 0.9, 0.9)) == ("axial",)


def test_slices_are_counted_without_reading_a_scan():
    assert slice_count(("axial",), (30, 34, 26)) == 30
    assert slice_count(("axial", "sagittal"), (30, 34, 26)) == 30 + 26
    assert slice_count(PLANES, (30, 34, 26)) == prepared().slice_count


@pytest.mark.parametrize("wrong", [("sagittal",), ("axial", "axial"), ("sagittal", "axial"), ()])
def test_planes_out_of_order_or_twice_are_refused(wrong):
    with pytest.raises(ValueError, match=r"axial first|at least 1"):
        Preprocessing(pixel_size_mm=1, size_px=16, planes=wrong)


reorientations = st.builds(
    Reorientation,
    st.permutations([0, 1, 2]).map(tuple),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)


@given(reorientations, reorientations)
def test_two_reorientations_can_be_joined_and_undone(first, second):
    volume = np.arange(24).reshape(2, 3, 4)
    joined = first.then(second)
    stack = second.apply(first.apply(volume))
    np.testing.assert_array_equal(joined.apply(volume), stack)
    np.testing.assert_array_equal(joined.undo(stack), volume)
    assert second.order(first.order(volume.shape)) == stack.shape == joined.order(volume.shape)


def test_slices_with_head_may_have_gaps_and_come_back_where_they_were():
    # 24 slices of head from index 3 on, more than are resampled at a time; two of them are lost.
    volume = head()
    volume[:, [9, 20]] = 0  # the second voxel axis runs to S
    axial = preprocess([as_scan(volume, AFFINE)], AXIAL).geometry
    (plane,) = axial.planes
    there = [index for index in range(3, 27) if index not in (9, 20)]
    assert plane.head_slices.tolist() == there
    slices = np.broadcast_to(
        np.linspace(0.1, 0.9, 22, dtype=np.float32)[:, None, None], (22, 40, 40)
    )
    by_height = axial.to_scan(slices)[10, :, 10]
    np.testing.assert_allclose(by_height[there], np.linspace(0.1, 0.9, 22), atol=1e-6)
    assert np.flatnonzero(by_height).tolist() == there
    both = np.stack([slices, 1 - slices], axis=1)
    numbers = axial.to_scan_numbers(both, 0.5, [0, 1])[10, :, 10]
    assert numbers[there].tolist() == [2] * 11 + [1] * 11  # 0.1 … 0.481, 0.519 … 0.9
    assert not numbers[[0, 1, 2, 9, 20, 27, 28, 29]].any()
