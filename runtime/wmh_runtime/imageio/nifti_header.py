"""The NIfTI header: read it, check shape and data type, and make a header for results.

Terms of the NIfTI standard:

    header  the first 348 bytes (NIfTI-1) or 540 bytes (NIfTI-2) of the file
    pair    an image in two files, .hdr with the header and .img with the voxels

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
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from nibabel.spatialimages import HeaderDataError
from numpy.typing import DTypeLike, NDArray

from wmh_runtime.errors import InputError

Affine = NDArray[np.float64]
Shape = tuple[int, int, int]
SpacingMm = tuple[float, float, float]

PROGRAM_MARK = b"wmh-lora"  # stored in `descrip` of every file that this program writes
SHORT_HEADER_BYTES, LONG_HEADER_BYTES = 348, 540  # of NIfTI-1 and NIfTI-2
MAX_VOXELS = 2**30  # 1024³: more than any MRI scan has; 4 GiB as float32
_NIBABEL_ERROR_LEVEL = 40  # nibabel's level for headers that it cannot repair
_WHOLE_SCAN = "Give the whole scan, not a single slice."
CONVERT_AGAIN = "Convert the original data again, for example with dcm2niix."
# Where the magic bytes are in the header, and what they say.
_MAGIC = (
    (slice(344, 348), b"n+1\0", Nifti1Header),
    (slice(344, 348), b"ni1\0", Nifti1PairHeader),
    (slice(4, 8), b"n+2\0", Nifti2Header),
    (slice(4, 8), b"ni2\0", Nifti2PairHeader),
)
_ANALYZE_MAGIC = (b"\x5c\x01\0\0", b"\0\0\x01\x5c")  # the number 348, in both byte orders

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


def is_long_header(head: bytes) -> bool:
    """Return whether the first 8 bytes are those of a NIfTI-2 header, which is longer."""
    return head[4:8] in (b"n+2\0", b"ni2\0")


def header_from_bytes(head: bytes, path: Path) -> Nifti1Header:
    """Parse the first bytes of an uncompressed file, without repairs and header extensions.

    Returns:
        A header whose class says what the image is: NIfTI-1 or NIfTI-2, a single file or a pair.

    Raises:
        InputError: they are not the header of a NIfTI image.
    """
    for where, magic, header_class in _MAGIC:
        if head[where] == magic and len(head) >= header_class.sizeof_hdr:
            return header_class(head[: header_class.sizeof_hdr], check=False)
    if head[:4] in _ANALYZE_MAGIC:
        problem = "is an Analyze 7.5 image, which stores no orientation: left and right are unknown"
        raise InputError(problem, CONVERT_AGAIN, about=path)
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
    n_volumes = math.prod(size or 1 for size in further)  # some programs write 0 for 1
    if n_volumes != 1 or min(further, default=1) < 0:
        sizes_text = times((x, y, z, *further))
        problem = f"contains {n_volumes} volumes ({sizes_text} voxels), expected one"
        remedy = "Extract one volume, for example the first: fslroi INPUT OUTPUT 0 1"
        raise InputError(problem, remedy, about=path)
    if min(x, y, z) < 2:
        problem = f"has {times((x, y, z))} voxels, expected at least 2 along each axis"
        raise InputError(problem, _WHOLE_SCAN, about=path)
    if x * y * z > MAX_VOXELS:
        problem = (
            f"has {times((x, y, z))} voxels according to its header, expected at most {MAX_VOXELS}"
        )
        remedy = f"The header is probably damaged. {CONVERT_AGAIN}"
        raise InputError(problem, remedy, about=path)
    return x, y, z


def repaired_copy(header: Nifti1Header, path: Path) -> Nifti1Header:
    """Copy a header and repair it as nibabel does on loading: invalid codes, pixdim[0].

    Voxel sizes of 0 stay 0; nibabel would make them 1 mm.

    Raises:
        InputError: the header cannot be repaired.
    """
    repaired = header.copy()
    with header_errors(path):
        repaired.check_fix(logger=_logger, error_level=_NIBABEL_ERROR_LEVEL)
        repaired["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
    return repaired


def layout_from_header(header: Nifti1Header, shape: Shape, path: Path) -> Layout:
    """Read where the voxels are in the file and how they are stored.

    Raises:
        InputError: the values are not integers or real numbers, or begin inside the header.
    """
    with header_errors(path):
        dtype = header.get_data_dtype()
        slope, intercept = header.get_slope_inter()
    require_real_numbers(dtype, path)
    lowest_offset = header.single_vox_offset if header.is_single else header.pair_vox_offset
    if not lowest_offset <= float(header["vox_offset"]) < math.inf:
        problem = f"has its voxels at byte {header['vox_offset']}, expected {lowest_offset} or more"
        raise InputError(problem, CONVERT_AGAIN, about=path)
    offset_bytes = int(header["vox_offset"])
    if slope is None:  # a slope of 0 or NaN means: no scaling
        slope, intercept = 1.0, 0.0
    return Layout(shape, dtype, offset_bytes, slope, intercept)


def require_real_numbers(dtype: np.dtype[np.generic], path: Path) -> None:
    """Raise InputError if voxels are complex numbers or colors."""
    if dtype.kind == "c":
        remedy = "Compute the magnitude image first."
        raise InputError("contains complex numbers, expected real numbers", remedy, about=path)
    if dtype.kind == "b":
        raise InputError("is a mask of true and false", "Give the scan itself.", about=path)
    if dtype.kind not in "iuf":
        remedy = "Give the original scan, not a color image of it."
        raise InputError("contains colors, expected one number per voxel", remedy, about=path)


def header_on_same_grid(
    header: Nifti1Header, dtype: DTypeLike, value_range: tuple[float, float]
) -> Nifti1Header:
    """Make the header of a single file. It has the grid fields of the input, and no others.

    They are copied bit for bit, except that a number of volumes of 0 becomes 1.

    Args:
        header: header of the input, as stored.
        dtype: dtype of the results, which are stored without scaling, little-endian.
        value_range: smallest and largest value, the default display window of viewers.
    """
    header_class = Nifti2Header if isinstance(header, Nifti2Header) else Nifti1Header
    result = header_class(endianness="<")
    for field in _GRID_FIELDS:
        result[field] = header[field]
    n_axes = int(header["dim"][0])
    result["dim"][4 : n_axes + 1] = 1
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
def header_errors(path: Path) -> Iterator[None]:
    """Turn errors of nibabel about the header into an InputError; ignore numpy overflows."""
    try:
        with np.errstate(all="ignore"):
            yield
    except (HeaderDataError, ValueError, OverflowError) as error:
        raise InputError(f"has an invalid header: {error}", CONVERT_AGAIN, about=path) from error


def times(values: tuple[float, ...]) -> str:
    """Format sizes: 0.7 × 0.9 × 3.1."""
    return " × ".join(f"{value:g}" for value in values)
