"""The three scanners: voxel grids, and the position of the head in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Site:
    """One scanner of the WMH segmentation challenge.

    Args:
        index: part of the random seed; never use it again for another site.
        shape: voxels along x (right to left), y (front to back) and z (bottom to top).
        spacing_mm: voxel size along the same axes.
        front_mm: distance from the middle of the brain forward to the center of the field of view.
        fat: range of the signal of subcutaneous fat; white matter = 1.
        white_level: range of the stored value of white matter.
        largest_pitch_deg: largest pitch of oblique slices.
    """

    index: int
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    front_mm: float
    fat: tuple[float, float]
    white_level: tuple[float, float]
    largest_pitch_deg: float

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in mL."""
        return float(np.prod(self.spacing_mm)) / 1000


SITES: Mapping[str, Site] = MappingProxyType(
    {
        "utrecht": Site(0, (240, 240, 48), (0.96, 0.96, 3.0), 3.0, (0.7, 1.8), (300, 700), 12),
        "singapore": Site(1, (232, 256, 48), (1.0, 1.0, 3.0), 5.0, (0.8, 1.4), (500, 1100), 12),
        "amsterdam": Site(2, (132, 256, 83), (1.2, 0.98, 3.0), 8.0, (1.2, 2.2), (800, 1500), 5),
    }
)

VERTEX_MM = 77.0  # height of the scalp above the middle of the brain
SPARE_ABOVE_MM = (2.0, 9.0)
SHIFT_MM = (2.5, 4.0)  # standard deviation of the head position along x and y
YAW_ROLL_DEG = 2.0
RESIDUAL_PITCH_DEG = 4.0  # slices are only roughly aligned with the head


@dataclass(frozen=True)
class Placement:
    """Position of a head in the scanner.

    Args:
        affine: (4, 4) voxel index to RAS+ mm of the scanner.
        head_from_voxel: (4, 4) voxel index to head coordinates in mm.
    """

    affine: NDArray[np.float64]
    head_from_voxel: NDArray[np.float64]

    @staticmethod
    def draw(rng: np.random.Generator, site: Site) -> Placement:
        """Draw an oblique stack of slices (LPS order) and a head roughly aligned with it."""
        pitch = rng.uniform(-site.largest_pitch_deg, site.largest_pitch_deg)
        slices = _rotation(pitch, *rng.normal(0, YAW_ROLL_DEG, 2))
        head = _rotation(
            rng.normal(0, RESIDUAL_PITCH_DEG), *np.clip(rng.normal(0, YAW_ROLL_DEG, 2), -4, 4)
        )
        spacing = np.array(site.spacing_mm)
        linear = slices @ np.diag(spacing * (-1, -1, 1))
        shape = np.array(site.shape)
        isocenter = rng.normal(0, 8, 3)
        affine = _homogeneous(linear, isocenter - linear @ ((shape - 1) / 2))

        # In the axes of the stack, the head is rotated by `head`; its vertex is just below the top.
        in_stack = head.T @ np.diag(spacing * (-1, -1, 1))
        top = VERTEX_MM + rng.uniform(*SPARE_ABOVE_MM)
        middle = np.array(
            (
                rng.normal(0, SHIFT_MM[0]) * min(1.0, shape[0] * spacing[0] / 230),
                site.front_mm + rng.normal(0, SHIFT_MM[1]),
                top - shape[2] * spacing[2] / 2,
            )
        )
        # Rotate about the middle of the brain, not of the stack: a high stack stays centered.
        offset = head.T @ middle - in_stack @ ((shape - 1) / 2)
        return Placement(affine, _homogeneous(in_stack, offset))

    def head_points(self, shape: tuple[int, int, int], z: float) -> NDArray[np.float32]:
        """Return head coordinates (3, X * Y) in mm of all pixels at a (fractional) slice index."""
        matrix = self.head_from_voxel
        i = np.arange(shape[0])[:, None]
        j = np.arange(shape[1])[None, :]
        planes = [row[0] * i + row[1] * j + (row[2] * z + row[3]) for row in matrix[:3]]
        return np.stack(planes).reshape(3, -1).astype(np.float32)


def _rotation(pitch_deg: float, yaw_deg: float, roll_deg: float) -> NDArray[np.float64]:
    """Return the rotation about x (pitch), then y (roll), then z (yaw)."""
    a, b, c = np.radians((pitch_deg, roll_deg, yaw_deg))
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _homogeneous(linear: NDArray[np.float64], offset: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = offset
    return matrix
