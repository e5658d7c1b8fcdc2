"""Write NIfTI files: masks and probability maps on the grid of a scan, and generated images."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import atomic_path
from wmh_runtime.imageio.nifti_header import Affine, header_on_same_grid
from wmh_runtime.imageio.volume import Scan

_GZIP_LEVEL = 6  # higher levels hardly make masks smaller
_SCANNER_CODE = 1  # NIfTI: the affine gives scanner coordinates


def write_on_grid_of(
    scan: Scan, voxels: NDArray[np.unsignedinteger | np.float32], path: Path
) -> None:
    """Write voxels so that every viewer shows them exactly over the scan.

    Shape (including trailing axes of length 1), voxel sizes, units, qform, sform, both codes and
    the NIfTI version are copied from the scan bit for bit. Other header fields are not copied,
    because text fields and extensions may contain patient data. The same voxels give the same
    bytes: the gzip header contains no time and no file name.

    Args:
        scan: the scan that defines the grid.
        voxels: (x, y, z), the scan's shape, uint8, uint16 or float32.
        path: output file, ending in .nii or .nii.gz.

    Raises:
        InputError: the path cannot be written, or it is the path of the scan.
        ValueError: `voxels` has another shape or dtype.
    """
    if voxels.shape != scan.shape or voxels.dtype not in (np.uint8, np.uint16, np.float32):
        expected = f"uint8, uint16 or float32 of shape {scan.shape}"
        raise ValueError(f"got {voxels.dtype} of shape {voxels.shape}, expected {expected}")
    if not path.name.endswith((".nii", ".nii.gz")):
        remedy = "Use a name that ends in .nii.gz or .nii."
        raise InputError("is not a NIfTI file name", remedy, about=path)
    if os.path.realpath(path) == os.path.realpath(scan.path):  # never fails, unlike Path.resolve
        raise InputError("would overwrite the scan", "Choose another output file.", about=path)
    value_range = float(voxels.min()), float(voxels.max())
    header = header_on_same_grid(scan.header, voxels.dtype, value_range)
    with atomic_path(path) as partial, partial.open("wb") as file:
        if path.suffix == ".gz":
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as stream:
                _write_image(stream, header, voxels)
        else:
            _write_image(file, header, voxels)


def write_generated(voxels: NDArray[Any], affine: Affine, path: Path) -> None:
    """Write an image that was not made from a scan.

    Args:
        voxels: (x, y, z).
        affine: (4, 4), voxel index to RAS+ mm of the scanner; stored as sform and qform.
        path: output file, ending in .nii or .nii.gz.
    """
    image = nib.Nifti1Image(voxels, affine)
    image.set_sform(affine, _SCANNER_CODE)
    image.set_qform(affine, _SCANNER_CODE)
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as partial:
        nib.save(image, partial)


def _write_image(stream: Any, header: Any, voxels: NDArray[Any]) -> None:
    header.write_to(stream)  # with 4 bytes that mean: no extensions
    for z in range(voxels.shape[2]):
        stream.write(voxels[..., z].astype(header.get_data_dtype()).tobytes(order="F"))
