"""A scan in memory: voxels and their position in the patient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Image
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.label_map import require_intensities
from wmh_runtime.imageio.nifti_header import (
    Affine,
    Shape,
    SpacingMm,
    largest_corner_distance_mm,
    require_real_numbers,
    shape_from_header,
    spacing_mm_from_affine,
    times,
)
from wmh_runtime.imageio.placement import FORM_TOLERANCE_MM, placement_from_header
from wmh_runtime.imageio.read_errors import read_errors


@dataclass(frozen=True, eq=False)
class Scan:
    """A volume with its position in the patient."""

    path: Path  #: of the file, or a name for messages
    voxels: NDArray[np.float32]  #: (x, y, z), scaling applied, finite, in Fortran order
    affine: Affine  #: (4, 4), voxel index to RAS+ mm
    header: Any  #: nibabel's Nifti1Header or Nifti2Header, as stored, without extensions
    sha256: str  #: of the file as stored, hexadecimal; empty if not read from a file
    warnings: tuple[str, ...]  #: about an unreliable orientation or voxel size

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
    shape = np.shape(affine)
    if shape != (4, 4):
        problem = f"has an affine of shape {shape}, expected (4, 4)"
        advice = "Give the affine from voxel index to RAS+ mm, as nibabel has it."
        raise InputError(problem, advice, about=name)
    voxels = np.asarray(voxels)
    require_real_numbers(voxels.dtype, Path(name))
    with np.errstate(over="ignore"):  # the values are checked below
        return scan_from_image(Nifti1Image(voxels.astype(np.float32), affine), name)


def scan_from_image(image: SpatialImage, name: str = "") -> Scan:
    """Make a scan from a nibabel image of any format.

    Args:
        image: one volume. Axes of length 1 after the third are dropped.
        name: name of the image in messages. Empty: its file name.

    Raises:
        InputError: see `scan_from_array`; or the file of the image cannot be read.
    """
    path = Path(name or image.get_filename() or "image")
    without_voxels = np.broadcast_to(np.uint8(0), image.shape)
    header = Nifti1Image(without_voxels, image.affine, image.header).header
    require_real_numbers(image.get_data_dtype(), path)
    shape = shape_from_header(header, path)
    placement = placement_from_header(header, shape, path)
    with read_errors(path), np.errstate(over="ignore"):  # the values are checked below
        voxels = np.asarray(image.dataobj, np.float32).reshape(shape)
    check_values(voxels, allow_constant=False, path=path)
    return Scan(path, voxels, placement.affine, header, sha256="", warnings=placement.warnings)


def check_values(voxels: NDArray[np.float32], allow_constant: bool, path: Path) -> None:
    """Check that all voxels are finite and, unless allowed, that the image is not a mask.

    A mask has a single value or a few values.

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


def on_grid_of(scan: Scan, other: Scan) -> Scan:
    """Return a scan in the order of voxels of another one on the same grid. No value is changed.

    Programs store the same voxels in different orders, for example from left to right or from
    right to left. Then the axes are permuted and flipped.

    Raises:
        InputError: in no order are all voxels within 0.1 mm of those of the other scan.
    """
    reordered = reordered_to(scan, other)
    if reordered is not None:
        return reordered
    to_other = _reordering(scan, other)
    if to_other is None:
        found, expected = (
            f"{times(one.shape)} voxels of {times(one.spacing_mm)} mm" for one in (scan, other)
        )
        difference = f"{found}, expected {expected}"
    else:
        best = _reordered(scan, to_other)
        distance_mm = largest_corner_distance_mm(best.affine, other.affine, other.shape)
        difference = f"voxels are up to {distance_mm:.1f} mm apart"
    problem = f"is not on the grid of {other.path}: {difference}"
    raise InputError(problem, "Resample one to the grid of the other first.", about=scan.path)


def reordered_to(scan: Scan, other: Scan) -> Scan | None:
    """Return a scan in the order of voxels of another one, as `on_grid_of`; None if it cannot be.

    Then the grids differ: in no order are all voxels within 0.1 mm of those of the other scan.
    """
    to_other = _reordering(scan, other)
    if to_other is None:
        return None
    reordered = _reordered(scan, to_other)
    distance_mm = largest_corner_distance_mm(reordered.affine, other.affine, other.shape)
    if distance_mm > FORM_TOLERANCE_MM:
        return None
    is_same = (to_other == np.eye(3)).all()
    return scan if is_same else replace(reordered, header=other.header)


def _reordering(scan: Scan, other: Scan) -> NDArray[np.int_] | None:
    """Find the permutation and flips of the axes that fit best.

    Returns:
        (3, 3): entry [i, j] is ±1 if axis j of `scan` is axis i of `other`, else 0. None: the shape
        would be another one.
    """
    directions = [one.affine[:3, :3] / one.spacing_mm for one in (other, scan)]
    cosines = np.linalg.solve(*directions)
    best = max(permutations(range(3)), key=lambda axes: sum(abs(cosines[range(3), axes])))
    if tuple(scan.shape[axis] for axis in best) != other.shape:
        return None
    to_other = np.zeros((3, 3), int)
    to_other[range(3), best] = np.where(cosines[range(3), best] < 0, -1, 1)
    return to_other


def _reordered(scan: Scan, to_other: NDArray[np.int_]) -> Scan:
    axes = abs(to_other).argmax(axis=1)
    is_flipped = to_other.sum(axis=1) < 0
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in is_flipped)
    voxels = scan.voxels.transpose(axes)[steps]
    affine = scan.affine.copy()
    affine[:3, :3] = scan.affine[:3, :3] @ to_other.T
    first_voxel = np.where(is_flipped, np.array(voxels.shape) - 1, 0) @ abs(to_other)
    affine[:3, 3] += scan.affine[:3, :3] @ first_voxel
    return replace(scan, voxels=np.asfortranarray(voxels), affine=affine)
