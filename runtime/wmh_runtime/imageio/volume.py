"""A scan in memory: voxels and their position in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Image
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.label_map import require_intensities
from wmh_runtime.imageio.nifti_header import (
    FORM_TOLERANCE_MM,
    Affine,
    Shape,
    SpacingMm,
    largest_corner_distance_mm,
    placement_from_header,
    shape_from_header,
    spacing_mm_from_affine,
)


@dataclass(frozen=True, eq=False)
class Scan:
    """A volume with its position in the patient."""

    path: Path
    voxels: NDArray[np.float32]  # (x, y, z), scaling applied, finite, in Fortran order
    affine: Affine  # (4, 4), voxel index to RAS+ mm
    header: Any  # nibabel's Nifti1Header or Nifti2Header, as stored, without extensions
    sha256: str  # of the file as stored, hexadecimal; empty if not read from a file
    warnings: tuple[str, ...]  # about an unreliable orientation or voxel size

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


def scan_from_array(voxels: NDArray[Any], affine: Affine, name: str = "array") -> Scan:
    """Make a scan from an array.

    Args:
        voxels: (x, y, z), real numbers, scaling applied.
        affine: (4, 4), voxel index to RAS+ mm.
        name: name of the image in messages.

    Raises:
        InputError: the array is not one volume of finite real numbers, it is a mask, or the affine
            is not plausible for an MRI scan in mm.
    """
    return scan_from_image(Nifti1Image(np.asarray(voxels, np.float32), affine), name)


def scan_from_image(image: SpatialImage, name: str = "") -> Scan:
    """Make a scan from a nibabel image of any format.

    Args:
        image: one volume. Axes of length 1 after the third are dropped.
        name: name of the image in messages. Empty: its file name.

    Raises:
        InputError: see `scan_from_array`.
    """
    path = Path(name or image.get_filename() or "image")
    header = Nifti1Image(np.empty(image.shape, np.uint8), image.affine, image.header).header
    shape = shape_from_header(header, path)
    placement = placement_from_header(header, shape, path)
    voxels = np.asarray(image.dataobj, np.float32).reshape(shape)
    check_values(voxels, allow_constant=False, path=path)
    return Scan(path, voxels, placement.affine, header, sha256="", warnings=placement.warnings)


def check_values(voxels: NDArray[np.float32], allow_constant: bool, path: Path) -> None:
    """Check that all voxels are finite and, unless allowed, that the image is not a mask.

    A mask has a single value or a few whole values.

    Raises:
        InputError: they are not.
    """
    lowest, highest = voxels.min(), voxels.max()  # NaN if a voxel is NaN
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        n_bad = voxels.size - int(np.isfinite(voxels).sum())
        problem = f"{n_bad} of {voxels.size} voxels are NaN, infinite or too large for float32"
        raise InputError(problem, "Replace these values, or convert the scan again.", about=path)
    if lowest == highest and not allow_constant:
        problem = f"constant image (all voxels equal {lowest:g})"
        raise InputError(problem, "Give the original scan.", about=path)
    if not allow_constant:
        require_intensities(voxels, path)


def require_same_grid(scan: Scan, other: Scan) -> None:
    """Check that two scans have the same voxel grid.

    Raises:
        InputError: the shapes differ, or a voxel position differs by more than 0.1 mm.
    """
    if scan.shape == other.shape:
        distance_mm = largest_corner_distance_mm(scan.affine, other.affine, scan.shape)
        if distance_mm <= FORM_TOLERANCE_MM:
            return
        difference = f"voxels are up to {distance_mm:.1f} mm apart"
    else:
        difference = f"{scan.shape} voxels, expected {other.shape}"
    problem = f"is not on the grid of {other.path.name}: {difference}"
    raise InputError(problem, "Resample one to the grid of the other first.", about=scan.path)
