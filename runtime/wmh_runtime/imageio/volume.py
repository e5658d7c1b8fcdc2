"""A volume in memory: voxels, and where they lie in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_header import (
    FORM_TOLERANCE_MM,
    Affine,
    Shape,
    SpacingMm,
    largest_corner_distance_mm,
    spacing_mm_from_affine,
)


@dataclass(frozen=True, eq=False)
class Scan:
    """A volume and where it lies in the patient."""

    path: Path
    voxels: NDArray[np.float32]  # (x, y, z), scaling applied, finite, Fortran order as stored
    affine: Affine  # (4, 4), voxel index to RAS+ mm
    header: Any  # nibabel's Nifti1Header or Nifti2Header as stored, without extensions
    sha256: str  # of the file's bytes as stored, in hexadecimal
    warnings: tuple[str, ...]  # what a user should know about where the voxels lie

    @property
    def shape(self) -> Shape:
        """Voxels along each axis."""
        x, y, z = self.voxels.shape
        return x, y, z

    @property
    def spacing_mm(self) -> SpacingMm:
        """Distance between neighboring voxels along each axis."""
        return spacing_mm_from_affine(self.affine)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))


def require_same_grid(scan: Scan, other: Scan) -> None:
    """Refuse scans whose voxels do not lie in the same places.

    Raises:
        InputError: the shapes differ, or some voxel lies elsewhere by more than 0.1 mm.
    """
    if scan.shape == other.shape:
        apart_mm = largest_corner_distance_mm(scan.affine, other.affine, scan.shape)
        if apart_mm <= FORM_TOLERANCE_MM:
            return
        problem = f"lies up to {apart_mm:.1f} mm away from {other.path.name}"
    else:
        problem = f"has {scan.shape} voxels and {other.path.name} {other.shape}"
    raise InputError(problem, "Resample one to the grid of the other first.", about=scan.path)
