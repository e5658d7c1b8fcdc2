"""Half of a rigid transform, and the middle of two."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmh_runtime.change.pair.rigid import half_of, inverse_of, middle_of
from wmh_runtime.preprocessing.registration import angle_degrees


def rigid(vector, shift):
    """A rotation about a vector by its length in degrees (formula of Rodrigues), then a shift."""
    matrix, degrees = np.eye(4), np.linalg.norm(vector)
    if degrees > 0:
        x, y, z = np.array(vector) / degrees
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        angle = np.radians(degrees)
        matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    matrix[:3, 3] = shift
    return matrix


angles, shifts = (st.tuples(*[st.floats(-size, size)] * 3) for size in (80, 200))
transforms = st.builds(rigid, angles, shifts)


def test_half_of_a_quarter_turn_is_an_eighth_about_the_same_axis():
    half = half_of(rigid((0, 0, 90), (0, 0, 8)))
    np.testing.assert_allclose(half, rigid((0, 0, 45), (0, 0, 4)), atol=1e-12)


@given(transforms)
def test_half_twice_is_the_whole(transform):
    half = half_of(transform)
    np.testing.assert_allclose(half @ half, transform, atol=1e-9)
    assert angle_degrees(half) == pytest.approx(angle_degrees(transform) / 2, abs=1e-4)
    np.testing.assert_allclose(half @ inverse_of(half), np.eye(4), atol=1e-9)


@given(transforms, transforms)
def test_the_middle_does_not_depend_on_the_order_or_the_direction(one, other):
    if angle_degrees(inverse_of(one) @ other) > 170:
        return  # two rotations by half a turn have no middle
    middle = middle_of(one, other)
    np.testing.assert_allclose(middle_of(other, one), middle, atol=1e-6)
    backward = middle_of(inverse_of(one), inverse_of(other))
    np.testing.assert_allclose(backward, inverse_of(middle), atol=1e-6)
