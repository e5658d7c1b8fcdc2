"""Voxels move to the right position, and back."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.preprocessing.slices.resampling import (
    Samples,
    resampling_matrix,
    samples_around,
    slice_resampler,
)

SPACING_MM = (0.7, 0.9, 3.1)
ALL_AXIS_CODES = [
    tuple(code[side] for code, side in zip(order, sides, strict=True))
    for order in itertools.permutations(("LR", "PA", "IS"))
    for sides in itertools.product((0, 1), repeat=3)
]


def affine_of(codes, spacing_mm=SPACING_MM):
    """Voxel axes along `codes`, with an arbitrary origin."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = (-71.0, 23.0, 5.0)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    return affine @ inv_ornt_aff(turn, (5, 6, 7))


def rotation(degrees, axis):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = [k for k in range(3) if k != axis]
    matrix = np.eye(4)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


@pytest.mark.parametrize("codes", ALL_AXIS_CODES, ids="".join)
def test_reorientation_is_undone_bit_exactly_for_all_48_orientations(codes):
    volume = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    reorientation = axial_reorientation(affine_of(codes))
    np.testing.assert_array_equal(reorientation.undo(reorientation.apply(volume)), volume)


@pytest.mark.parametrize("codes", ALL_AXIS_CODES, ids="".join)
def test_an_axial_stack_increases_to_superior_posterior_and_left(codes):
    # The values of the volume are the positions of its voxels in the patient, in mm.
    affine = affine_of(codes)
    index = np.stack(np.meshgrid(*map(np.arange, (5, 6, 7)), indexing="ij"), axis=-1)
    right, anterior, superior = np.moveaxis(index @ affine[:3, :3].T + affine[:3, 3], -1, 0)
    apply = axial_reorientation(affine).apply
    assert (np.diff(apply(superior), axis=0) > 0).all()
    assert (np.diff(apply(anterior), axis=1) < 0).all()
    assert (np.diff(apply(right), axis=2) < 0).all()


@pytest.mark.parametrize("degrees", [-30, -16, 16, 30])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_oblique_scans_are_sliced_along_the_nearest_axis(degrees, axis):
    straight = axial_reorientation(affine_of("PSR"))
    assert axial_reorientation(rotation(degrees, axis) @ affine_of("PSR")) == straight


def test_equal_spacing_only_crops_and_pads():
    # 5 samples onto 4 around the middle between samples 2 and 3: samples 1 to 4.
    source = Samples(5, 0.7)
    matrix = resampling_matrix(source, samples_around(source, 2.5, 4, 0.7))
    expected = np.eye(5, dtype=np.float32)[1:5]
    np.testing.assert_array_equal(matrix, expected)


def test_padding_is_zero():
    # 2 samples onto 6, from 3 before sample 0 on: pixels 3 and 4 are inside.
    source = Samples(2, 1.3)
    matrix = resampling_matrix(source, samples_around(source, -0.5, 6, 1.3))
    np.testing.assert_array_equal(matrix.sum(axis=1), [0, 0, 0, 1, 1, 0])


def test_finer_pixels_are_interpolated_linearly():
    # Samples at 0 and 2 mm, pixels at 0, 1 and 2 mm: the one between is half of each.
    matrix = resampling_matrix(Samples(2, 2.0), Samples(3, 1.0))
    np.testing.assert_allclose(matrix, [[1, 0], [0.5, 0.5], [0, 1]])


def test_coarser_pixels_are_averaged_over_the_missing_variance():
    # From 1 mm to √2 mm: a box of width √(2 − 1) = 1 sample over the linear interpolant, centered
    # on a sample: ∫ from −½ to ½ of 1 − |t| = ¾ for itself, ∫ from ½ to 1 of 1 − t = ⅛ each side.
    source = Samples(5, 1.0)
    matrix = resampling_matrix(source, samples_around(source, 2, 1, 2**0.5))
    np.testing.assert_allclose(matrix, [[0, 1 / 8, 3 / 4, 1 / 8, 0]], atol=1e-6)


spacings_mm = st.floats(0.3, 4.0)


@given(source_mm=spacings_mm, target_mm=spacings_mm, index=st.integers(5, 44))
def test_constants_and_ramps_are_preserved_in_the_interior(source_mm, target_mm, index):
    source = Samples(50, source_mm)
    target = samples_around(source, index, 64, target_mm)
    matrix = resampling_matrix(source, target).astype(np.float64)
    margin_mm = source_mm + target_mm
    at = target.positions_mm
    interior = (at > margin_mm) & (at < source.positions_mm[-1] - margin_mm)
    np.testing.assert_allclose(matrix.sum(axis=1)[interior], 1, atol=1e-5)
    ramp = source.positions_mm / source.positions_mm[-1]  # from 0 to 1
    expected = at / source.positions_mm[-1]
    np.testing.assert_allclose((matrix @ ramp)[interior], expected[interior], atol=1e-5)


@given(
    shape=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    size_px=st.integers(2, 64),
    data=st.data(),
)
def test_cropping_and_padding_are_undone_bit_exactly(shape, size_px, data):
    half = (size_px - 1) / 2
    center = tuple(data.draw(st.integers(0, n - 1)) + half % 1 for n in shape)
    resampler = slice_resampler(shape, (0.7, 0.7), center, size_px, 0.7)
    stack = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    back = resampler.undo(resampler.apply(stack))
    kept = np.outer(*(_covered(n, c, size_px) for n, c in zip(shape, center, strict=True)))
    np.testing.assert_array_equal(back, stack * kept)


def _covered(count, center, size_px):
    """Return which of `count` samples are within `size_px` samples around `center`."""
    return abs(np.arange(count) - center) < size_px / 2


@given(
    spacing_mm=st.tuples(st.floats(0.4, 2.0), st.floats(0.4, 2.0)),
    pixel_mm=st.floats(0.5, 1.5),
    at=st.tuples(st.floats(22, 38), st.floats(22, 38)),
)
def test_resampling_does_not_move_a_blob(spacing_mm, pixel_mm, at):
    rows, columns = np.meshgrid(np.arange(61.0), np.arange(61.0), indexing="ij")
    blob = np.exp(-((rows - at[0]) ** 2 + (columns - at[1]) ** 2) / (2 * 4.0**2))
    resampler = slice_resampler((61, 61), spacing_mm, (30, 30), 256, pixel_mm)
    resampled = resampler.apply(blob[None].astype(np.float32))
    back = resampler.undo(resampled)[0]
    for axis in (0, 1):
        # The middle between pixels 127 and 128 is on voxel 30; positions are in mm from there.
        resampled_mm = (_centroid(resampled[0], axis) - 127.5) * pixel_mm
        original_mm = (_centroid(blob, axis) - 30) * spacing_mm[axis]
        assert abs(resampled_mm - original_mm) < 0.1 * spacing_mm[axis]
        assert abs(_centroid(back, axis) - _centroid(blob, axis)) < 0.1


def _centroid(image, axis):
    weights = image.astype(np.float64).sum(axis=1 - axis)
    return (weights * np.arange(len(weights))).sum() / weights.sum()
