"""The NIfTI header: what it claims, whether that can be, and a clean one for results.

Words used here:

    header  the 348 bytes (NIfTI-1) or 540 bytes (NIfTI-2) at the file's beginning, as stored
    qform   voxel index to RAS+ mm as voxel sizes, a rotation and a shift
    sform   voxel index to RAS+ mm as any affine matrix
    coded   a form whose code is above 0; the other ones are not meant to be used

Every claim is checked before memory is taken for a single voxel.
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

OUR_MARK = b"wmh-lora"  # in the header of what this program writes
HEADER_BYTES = 540  # the longer of the two headers
MAX_VOXELS = 2**30  # 1024³: beyond any MRI, and 4 GiB as float32
MIN_SPACING_MM, MAX_SPACING_MM = 0.1, 20.0
FORM_TOLERANCE_MM = 0.1  # qform and sform within this distance place a voxel alike
SPACING_TOLERANCE = 0.01  # relative; below it, volumes differ by less than 3 %
_MIN_DETERMINANT = 1e-3  # of the unit axes; 1 where they are perpendicular, 0 in one plane
_SERIOUS = 40  # nibabel's level of complaints that leave a header without a meaning
_UNITS_NOT_MM = {1: "metres", 3: "micrometres"}  # xyzt_units modulo 8; 2 is mm, 0 is unknown
_CONVERT_AGAIN = "Convert it again from the original, for example with dcm2niix."

# What makes the grid. Every other field stays behind: descrip, aux_file, db_name and the header
# extensions may hold patient data.
_GRID_FIELDS = (
    *("dim", "pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)

# nibabel's own logger prints to the terminal. Its complaints come here instead, to be heard by
# programs that configure logging, and by nobody otherwise.
_logger = logging.getLogger(__name__)
_logger.addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Layout:
    """Where in the (unpacked) file the voxels lie and how their values are stored."""

    shape: Shape
    dtype: np.dtype[np.generic]  # any integer or float, of either byte order
    offset_bytes: int
    slope: float  # value = slope · stored + intercept
    intercept: float

    @property
    def voxel_bytes(self) -> int:
        """The size of all voxels as stored."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def end_bytes(self) -> int:
        """Where the voxels end, counted from the file's beginning."""
        return self.offset_bytes + self.voxel_bytes


@dataclass(frozen=True)
class Placement:
    """Where the voxels lie in the patient."""

    affine: Affine  # (4, 4), voxel index to RAS+ mm
    warnings: tuple[str, ...]


def header_from_bytes(head: bytes, path: Path) -> Nifti1Header:
    """Parse the first bytes of an unpacked file, as stored: no repairs, no header extensions.

    Raises:
        InputError: they are not the beginning of a single-file NIfTI-1 or NIfTI-2 image.
    """
    if head[344:348] == b"n+1\0":
        return Nifti1Header(head[: Nifti1Header.sizeof_hdr], check=False)
    if head[4:8] == b"n+2\0" and len(head) >= Nifti2Header.sizeof_hdr:
        return Nifti2Header(head[: Nifti2Header.sizeof_hdr], check=False)
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        problem = "is half of a NIfTI pair (.hdr and .img), expected a single file"
        raise InputError(problem, "Convert the pair to one .nii.gz file.", about=path)
    problem = "is not a NIfTI image, whatever its name"
    raise InputError(problem, "Give a .nii or .nii.gz file.", about=path)


def shape_from_header(header: Nifti1Header, path: Path) -> Shape:
    """Read the number of voxels along each axis.

    Raises:
        InputError: the image is not one volume, or one of implausible size.
    """
    n_axes, *sizes = (int(size) for size in header["dim"])
    if not 3 <= n_axes <= len(sizes):
        problem = f"has {n_axes} axes, expected a volume (x, y, z)"
        raise InputError(problem, "Give the whole scan, not a slice of it.", about=path)
    x, y, z, *further = sizes[:n_axes]
    n_volumes = math.prod(further)
    if n_volumes != 1:
        problem = f"holds {n_volumes} volumes ({_times((x, y, z, *further))} voxels), expected one"
        remedy = "Extract the one to use, for example with: fslroi INPUT OUTPUT 0 1"
        raise InputError(problem, remedy, about=path)
    if min(x, y, z) < 2:
        problem = f"is {_times((x, y, z))} voxels, expected at least 2 along each axis"
        raise InputError(problem, "Give the whole scan, not a slice of it.", about=path)
    if x * y * z > MAX_VOXELS:
        problem = f"claims {_times((x, y, z))} voxels, expected at most {MAX_VOXELS}"
        raise InputError(problem, "Check the header; it is most likely damaged.", about=path)
    return x, y, z


def trusted_copy(header: Nifti1Header, path: Path) -> Nifti1Header:
    """Copy a header with the repairs that nibabel makes on loading: odd codes, pixdim[0].

    Raises:
        InputError: the header is beyond repair, or its lengths are not those of an MRI in mm.
    """
    unit = _UNITS_NOT_MM.get(int(header["xyzt_units"]) % 8)
    if unit:
        problem = f"gives its lengths in {unit}, expected millimetres"
        raise InputError(problem, _CONVERT_AGAIN, about=path)
    _check_spacing(_spacing_from_pixdim(header), path)  # nibabel would take 0 mm for 1 mm
    trusted = header.copy()
    with _complaints_about(path):
        trusted.check_fix(logger=_logger, error_level=_SERIOUS)
    return trusted


def layout_from_header(header: Nifti1Header, shape: Shape, path: Path) -> Layout:
    """Read where the voxels lie and how they are stored.

    Raises:
        InputError: they are no integer or real numbers, or lie inside the header.
    """
    with _complaints_about(path):
        dtype = header.get_data_dtype()
        slope, intercept = header.get_slope_inter()
    if dtype.kind == "c":
        remedy = "Take the magnitude first."
        raise InputError("holds complex numbers, expected real ones", remedy, about=path)
    if dtype.kind not in "iuf":
        remedy = "Give the scan itself, not a picture of it."
        raise InputError("holds colors, expected one number a voxel", remedy, about=path)
    first_possible = header.single_vox_offset
    if not first_possible <= float(header["vox_offset"]) < math.inf:
        problem = f"lets its voxels begin at byte {header['vox_offset']}, inside the header"
        raise InputError(problem, _CONVERT_AGAIN, about=path)
    offset_bytes = int(header["vox_offset"])
    if slope is None:  # a slope of 0 or NaN means that nothing is scaled
        slope, intercept = 1.0, 0.0
    return Layout(shape, dtype, offset_bytes, slope, intercept)


def placement_from_header(header: Nifti1Header, shape: Shape, path: Path) -> Placement:
    """Read the affine: the sform if coded, else the qform if coded, else the voxel sizes alone.

    Raises:
        InputError: the affine is not finite, not invertible, or of implausible voxel sizes.
    """
    with _complaints_about(path):
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
        _check_affine(affine, path)
        return Placement(affine, tuple(_doubts(header, affine, shape)))


def header_on_same_grid(
    header: Nifti1Header, dtype: DTypeLike, value_range: tuple[float, float]
) -> Nifti1Header:
    """Make a header for results: the grid's fields bit for bit, and nothing else of the input.

    Args:
        header: of the input, as stored.
        dtype: of the result's voxels, which are stored unscaled and little-endian.
        value_range: smallest and largest value, as the display window for viewers.
    """
    result = type(header)(endianness="<")
    for field in _GRID_FIELDS:
        result[field] = header[field]
    result.set_data_dtype(dtype)
    result["scl_slope"], result["scl_inter"] = 1, 0
    result["cal_min"], result["cal_max"] = value_range
    result["descrip"] = OUR_MARK
    return result


def spacing_mm_from_affine(affine: Affine) -> SpacingMm:
    """Return the distance between neighboring voxels along each voxel axis."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return float(x), float(y), float(z)


def largest_corner_distance_mm(one: Affine, other: Affine, shape: Shape) -> float:
    """Return how far apart two affines put a voxel at most, which is at one of the 8 corners."""
    corners = np.array([(*ijk, 1) for ijk in itertools.product(*((0, n - 1) for n in shape))])
    return float(np.linalg.norm(corners @ (one - other).T, axis=1).max())


@contextmanager
def _complaints_about(path: Path) -> Iterator[None]:
    """Turn what nibabel raises on an odd header into an InputError, and let numpy overflow."""
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
        raise InputError("has an affine with NaN or infinity", _CONVERT_AGAIN, about=path)
    spacing_mm = spacing_mm_from_affine(affine)
    _check_spacing(spacing_mm, path)
    if abs(np.linalg.det(affine[:3, :3] / spacing_mm)) < _MIN_DETERMINANT:
        problem = "has an affine that cannot be inverted: its axes lie in one plane"
        raise InputError(problem, _CONVERT_AGAIN, about=path)


def _check_spacing(spacing_mm: SpacingMm, path: Path) -> None:
    if not all(MIN_SPACING_MM <= size <= MAX_SPACING_MM for size in spacing_mm):  # NaN included
        expected = f"{MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm"
        problem = f"has voxels of {_times(spacing_mm)} mm, expected {expected} along each axis"
        raise InputError(problem, _CONVERT_AGAIN, about=path)


def _doubts(header: Nifti1Header, affine: Affine, shape: Shape) -> Iterator[str]:
    """Tell what a user should know about where the voxels lie."""
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
    """Return the qform's affine, all NaN where no rotation has the stored quaternion."""
    invalid = np.full((4, 4), np.nan)
    try:
        qform = np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError):
        return invalid
    return qform if np.isfinite(qform).all() else invalid


def _times(values: tuple[float, ...]) -> str:
    """Write sizes as people do: 0.7 × 0.9 × 3.1."""
    return " × ".join(f"{value:g}" for value in values)
