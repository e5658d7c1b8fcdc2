"""The NIfTI header: read it, check it, and make a header for results.

Terms of the NIfTI standard:

    header  the first 348 bytes (NIfTI-1) or 540 bytes (NIfTI-2) of the file
    qform   voxel index to RAS+ mm, stored as voxel sizes, rotation and shift
    sform   voxel index to RAS+ mm, stored as an affine matrix
    coded   qform_code or sform_code is above 0; a form that is not coded must not be used

All header fields are checked before memory is allocated for voxels.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import DTypeLike, NDArray

from wmh_runtime.errors import InputError

Affine = NDArray[np.float64]
Shape = tuple[int, int, int]
SpacingMm = tuple[float, float, float]

PROGRAM_MARK = b"wmh-lora"  # stored in `descrip` of every file that this program writes
HEADER_BYTES = 540  # the longer of the two headers
MAX_VOXELS = 2**30  # 1024³: more than any MRI scan has; 4 GiB as float32
MIN_SPACING_MM, MAX_SPACING_MM = 0.1, 20.0
FORM_TOLERANCE_MM = 0.1  # qform and sform agree if no voxel moves by more than this
SPACING_TOLERANCE = 0.01  # relative; volumes then differ by 3 % at most
_MIN_DETERMINANT = 1e-3  # of the unit axes: 1 if perpendicular, 0 if in one plane
_NIBABEL_ERROR_LEVEL = 40  # nibabel's level for headers that it cannot repair
_UNITS_NOT_MM = {1: "meters", 3: "micrometers"}  # xyzt_units modulo 8; 2 is mm, 0 is unknown
_WHOLE_SCAN = "Give the whole scan, not a single slice."
_CONVERT_AGAIN = "Convert the original data again, for example with dcm2niix."

# The fields that define the grid; only these are copied to results. Others, such as descrip,
# aux_file, db_name and the header extensions, may contain patient data.
_GRID_FIELDS = (
    *("dim", "pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)

# nibabel's own logger prints to the terminal. This logger is silent unless a program configures
# logging.
_logger = logging.getLogger(__name__)
_logger.addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Layout:
    """Position of the voxels in the (uncompressed) file, and how their values are stored."""

    shape: Shape
    dtype: np.dtype[np.generic]  # any integer or float type, either byte order
    offset_bytes: int
    slope: float  # value = slope · stored + intercept
    intercept: float

    @property
    def voxel_bytes(self) -> int:
        """Size of all voxels as stored."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def end_bytes(self) -> int:
        """End of the voxels, counted from the beginning of the file."""
        return self.offset_bytes + self.voxel_bytes


@dataclass(frozen=True)
class Placement:
    """Position of the voxels in the patient."""

    affine: Affine  # (4, 4), voxel index to RAS+ mm
    warnings: tuple[str, ...]


def header_from_bytes(head: bytes, path: Path) -> Nifti1Header:
    """Parse the first bytes of an uncompressed file, without repairs and header extensions.

    Raises:
        InputError: they are not the header of a single-file NIfTI-1 or NIfTI-2 image.
    """
    if head[344:348] == b"n+1\0":
        return Nifti1Header(head[: Nifti1Header.sizeof_hdr], check=False)
    if head[4:8] == b"n+2\0" and len(head) >= Nifti2Header.sizeof_hdr:
        return Nifti2Header(head[: Nifti2Header.sizeof_hdr], check=False)
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        problem = "is one half of a NIfTI pair (.hdr and .img), expected a single file"
        raise InputError(problem, "Convert the pair to one .nii.gz file.", about=path)
    problem = "is not a NIfTI image: it has no NIfTI header"
    raise InputError(problem, "Give a .nii or .nii.gz file.", about=path)


def shape_from_header(header: Nifti1Header, path: Path) -> Shape:
    """Read the number of voxels along each axis.

    Raises:
        InputError: the image is not a single volume of plausible size.
    """
    n_axes, *sizes = (int(size) for size in header["dim"])
    if not 3 <= n_axes <= len(sizes):
        problem = f"has {n_axes} dimensions, expected a volume (x, y, z)"
        raise InputError(problem, _WHOLE_SCAN, about=path)
    x, y, z, *further = sizes[:n_axes]
    n_volumes = math.prod(further)
    if n_volumes != 1:
        sizes_text = _times((x, y, z, *further))
        problem = f"contains {n_volumes} volumes ({sizes_text} voxels), expected one"
        remedy = "Extract one volume, for example the first: fslroi INPUT OUTPUT 0 1"
        raise InputError(problem, remedy, about=path)
    if min(x, y, z) < 2:
        problem = f"has {_times((x, y, z))} voxels, expected at least 2 along each axis"
        raise InputError(problem, _WHOLE_SCAN, about=path)
    if x * y * z > MAX_VOXELS:
        problem = (
            f"has {_times((x, y, z))} voxels according to its header, expected at most {MAX_VOXELS}"
        )
        remedy = f"The header is probably damaged. {_CONVERT_AGAIN}"
        raise InputError(problem, remedy, about=path)
    return x, y, z


def repaired_copy(header: Nifti1Header, path: Path) -> Nifti1Header:
    """Copy a header and repair it as nibabel does on loading: invalid codes, pixdim[0].

    Raises:
        InputError: the header cannot be repaired, or its voxel sizes are not those of an MRI scan
            in mm.
    """
    unit = _UNITS_NOT_MM.get(int(header["xyzt_units"]) % 8)
    if unit:
        problem = f"has lengths in {unit}, expected millimeters"
        raise InputError(problem, _CONVERT_AGAIN, about=path)
    _check_spacing(_spacing_from_pixdim(header), path)  # nibabel would repair 0 mm to 1 mm
    repaired = header.copy()
    with _header_errors(path):
        repaired.check_fix(logger=_logger, error_level=_NIBABEL_ERROR_LEVEL)
    return repaired


def layout_from_header(header: Nifti1Header, shape: Shape, path: Path) -> Layout:
    """Read where the voxels are in the file and how they are stored.

    Raises:
        InputError: the values are not integers or real numbers, or begin inside the header.
    """
    with _header_errors(path):
        dtype = header.get_data_dtype()
        slope, intercept = header.get_slope_inter()
    if dtype.kind == "c":
        remedy = "Compute the magnitude image first."
        raise InputError("contains complex numbers, expected real numbers", remedy, about=path)
    if dtype.kind not in "iuf":
        remedy = "Give the original scan, not a color image of it."
        raise InputError("contains colors, expected one number per voxel", remedy, about=path)
    lowest_offset = header.single_vox_offset
    if not lowest_offset <= float(header["vox_offset"]) < math.inf:
        problem = f"has its voxels at byte {header['vox_offset']}, expected {lowest_offset} or more"
        raise InputError(problem, _CONVERT_AGAIN, about=path)
    offset_bytes = int(header["vox_offset"])
    if slope is None:  # a slope of 0 or NaN means: no scaling
        slope, intercept = 1.0, 0.0
    return Layout(shape, dtype, offset_bytes, slope, intercept)


def placement_from_header(header: Nifti1Header, shape: Shape, path: Path) -> Placement:
    """Read the affine: the sform if coded, else the qform if coded, else only the voxel sizes.

    Raises:
        InputError: the affine is not finite or not invertible, or has implausible voxel sizes.
    """
    with _header_errors(path):
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
        _check_affine(affine, path)
        return Placement(affine, tuple(_placement_warnings(header, affine, shape)))


def header_on_same_grid(
    header: Nifti1Header, dtype: DTypeLike, value_range: tuple[float, float]
) -> Nifti1Header:
    """Make a header for results. It has the grid fields of the input bit for bit, and no others.

    Args:
        header: header of the input, as stored.
        dtype: dtype of the results, which are stored without scaling, little-endian.
        value_range: smallest and largest value, the default display window of viewers.
    """
    result = type(header)(endianness="<")
    for field in _GRID_FIELDS:
        result[field] = header[field]
    result.set_data_dtype(dtype)
    result["scl_slope"], result["scl_inter"] = 1, 0
    result["cal_min"], result["cal_max"] = value_range
    result["descrip"] = PROGRAM_MARK
    return result


def spacing_mm_from_affine(affine: Affine) -> SpacingMm:
    """Return the distance between neighboring voxels along each voxel axis."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return float(x), float(y), float(z)


def largest_corner_distance_mm(first: Affine, second: Affine, shape: Shape) -> float:
    """Return the largest distance between the positions that two affines give the same voxel.

    The distance is largest at one of the 8 corners of the volume.
    """
    corners = np.array([(*ijk, 1) for ijk in itertools.product(*((0, n - 1) for n in shape))])
    return float(np.linalg.norm(corners @ (first - second).T, axis=1).max())


@contextmanager
def _header_errors(path: Path) -> Iterator[None]:
    """Turn errors of nibabel about the header into an InputError; ignore numpy overflows."""
    try:
        with np.errstate(all="ignore"):
            yield
    except (HeaderDataError, ValueError, OverflowError) as error:
        raise InputError(f"has an invalid header: {error}", _CONVERT_AGAIN, about=path) from error


def _spacing_from_pixdim(header: Nifti1Header) -> SpacingMm:
    x, y, z = (abs(float(size)) for size in header["pixdim"][1:4])
    return x, y, z


def _check_affine(affine: Affine, path: Path) -> None:
    if not np.isfinite(affine).all():
        raise InputError("has an affine with NaN or infinite values", _CONVERT_AGAIN, about=path)
    spacing_mm = spacing_mm_from_affine(affine)
    _check_spacing(spacing_mm, path)
    if abs(np.linalg.det(affine[:3, :3] / spacing_mm)) < _MIN_DETERMINANT:
        problem = "has an affine that cannot be inverted: the voxel axes lie in one plane"
        raise InputError(problem, _CONVERT_AGAIN, about=path)


def _check_spacing(spacing_mm: SpacingMm, path: Path) -> None:
    if not all(MIN_SPACING_MM <= size <= MAX_SPACING_MM for size in spacing_mm):  # NaN included
        expected = f"{MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm"
        problem = (
            f"has a voxel size of {_times(spacing_mm)} mm, expected {expected} along each axis"
        )
        raise InputError(problem, _CONVERT_AGAIN, about=path)


def _placement_warnings(header: Nifti1Header, affine: Affine, shape: Shape) -> Iterator[str]:
    """Yield warnings about an unreliable orientation or voxel size."""
    sform_coded, qform_coded = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not sform_coded and not qform_coded:
        yield "no orientation is coded in the header: left and right may be exchanged"
    if sform_coded and qform_coded:
        distance_mm = largest_corner_distance_mm(affine, _qform_or_nan(header), shape)
        if math.isnan(distance_mm):
            yield "the qform is invalid: the sform is used"
        elif distance_mm > FORM_TOLERANCE_MM:
            yield f"qform and sform disagree by up to {distance_mm:.1f} mm: the sform is used"
    spacing_mm, pixdim_mm = spacing_mm_from_affine(affine), _spacing_from_pixdim(header)
    if not np.allclose(spacing_mm, pixdim_mm, rtol=SPACING_TOLERANCE, atol=0):
        yield (
            f"the header's voxel size is {_times(pixdim_mm)} mm, that of its affine "
            f"{_times(spacing_mm)} mm: the affine is used"
        )


def _qform_or_nan(header: Nifti1Header) -> Affine:
    """Return the affine of the qform; all NaN if the stored quaternion is not a rotation."""
    invalid = np.full((4, 4), np.nan)
    try:
        qform = np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError):
        return invalid
    return qform if np.isfinite(qform).all() else invalid


def _times(values: tuple[float, ...]) -> str:
    """Format sizes: 0.7 × 0.9 × 3.1."""
    return " × ".join(f"{value:g}" for value in values)
