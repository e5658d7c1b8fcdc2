"""Rigid transforms: half of one, and the one in the middle of two. All are (4, 4), in mm."""

from __future__ import annotations

import numpy as np

from wmh_runtime.imageio.nifti_header import Affine


def half_of(transform: Affine) -> Affine:
    """Return the rigid transform that, applied twice, is the given one: its square root.

    The rotation turns about the same axis by half the angle, which must be below 180°. It is the
    orthogonal factor of `1 + R`. For the translation, `(1 + R½) t½ = t`.
    """
    rotation = nearest_rotation(np.eye(3) + transform[:3, :3])
    half = np.eye(4)
    half[:3, :3] = rotation
    half[:3, 3] = np.linalg.solve(np.eye(3) + rotation, transform[:3, 3])
    return half


def middle_of(one: Affine, other: Affine) -> Affine:
    """Return the rigid transform in the middle of two: the same, whichever comes first."""
    return one @ half_of(inverse_of(one) @ other)


def inverse_of(transform: Affine) -> Affine:
    """Return the rigid transform back."""
    inverse = np.eye(4)
    inverse[:3, :3] = transform[:3, :3].T
    inverse[:3, 3] = -transform[:3, :3].T @ transform[:3, 3]
    return inverse


def nearest_rotation(matrix: Affine) -> Affine:
    """Return the rotation (3, 3) that is nearest to a matrix with a positive determinant."""
    left, _, right = np.linalg.svd(matrix)
    return left @ right
