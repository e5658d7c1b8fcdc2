"""The header of FreeSurfer's image format, .mgh or gzipped .mgz, as a NIfTI header."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader, header_dtype
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_header import CONVERT_AGAIN

MGH_VOXEL_OFFSET_BYTES = 284
_VERSION_1 = b"\0\0\0\1"
_MAX_SIZE = 32767  # of an axis, in NIfTI-1
_SCANNER = 1  # sform_code: mm in the coordinates of the scanner


def is_mgh(head: bytes) -> bool:
    """Return whether a file begins like an MGH image."""
    return head.startswith(_VERSION_1)


def nifti_header_from_mgh(head: bytes, path: Path) -> Nifti1Header:
    """Convert the header at the beginning of an MGH file.

    Returns:
        A header with big-endian voxels at the offset of MGH, and the orientation as sform.

    Raises:
        InputError: the header is too short, has an unknown data type, too many voxels, or no
            orientation.
    """
    if len(head) < MGH_VOXEL_OFFSET_BYTES:
        raise InputError("is truncated within its header", CONVERT_AGAIN, about=path)
    if not np.frombuffer(head, header_dtype, 1)["goodRASFlag"][0]:
        problem = "stores no orientation: left and right are unknown"
        raise InputError(problem, CONVERT_AGAIN, about=path)
    mgh = MGHHeader(head[:MGH_VOXEL_OFFSET_BYTES], check=False)
    sizes = [int(size) for size in mgh["dims"]]
    if not all(0 <= size <= _MAX_SIZE for size in sizes):
        problem = f"has {sizes} voxels, expected at most {_MAX_SIZE} along each axis"
        raise InputError(problem, CONVERT_AGAIN, about=path)
    header = Nifti1PairHeader(endianness=">")  # as in a pair, the voxels are anywhere
    try:
        header.set_data_dtype(mgh.get_data_dtype())
    except KeyError as error:
        problem = f"has the unknown data type {int(mgh['type'])}"
        raise InputError(problem, CONVERT_AGAIN, about=path) from error
    header["dim"][:5] = 4 if sizes[3] > 1 else 3, *sizes
    header["pixdim"][1:4] = mgh["delta"]
    header["vox_offset"] = MGH_VOXEL_OFFSET_BYTES
    header["sform_code"] = _SCANNER
    with np.errstate(all="ignore"):  # the affine is checked afterwards
        header["srow_x"], header["srow_y"], header["srow_z"] = mgh.get_affine()[:3]
    header.set_xyzt_units("mm")
    return header
