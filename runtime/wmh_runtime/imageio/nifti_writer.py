"""Write masks and maps as NIfTI files on exactly the grid of a scan."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import atomic_path
from wmh_runtime.imageio.nifti_header import header_on_same_grid
from wmh_runtime.imageio.volume import Scan

_GZIP_LEVEL = 6  # masks hardly get smaller above it


def write_on_grid_of(
    scan: Scan, voxels: NDArray[np.uint8] | NDArray[np.float32], path: Path
) -> None:
    """Write a mask or a map so that every viewer lays it exactly over the scan.

    Shape (trailing axes of length 1 included), voxel sizes, units, qform, sform and both codes
    are those of the scan bit for bit, and so is the NIfTI version. Nothing else of the scan's
    header comes along, as text fields and extensions may hold patient data. The same voxels give
    the same bytes: a gzipped file carries neither a time nor a name.

    Args:
        scan: whose grid to use.
        voxels: (x, y, z) of the scan's shape, uint8 or float32.
        path: to write to, ending in .nii or .nii.gz.

    Raises:
        InputError: the path cannot be written or is that of the scan.
        ValueError: `voxels` has another shape or dtype.
    """
    if voxels.shape != scan.shape or voxels.dtype not in (np.uint8, np.float32):
        expected = f"uint8 or float32 of shape {scan.shape}"
        raise ValueError(f"got {voxels.dtype} of shape {voxels.shape}, expected {expected}")
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError("is no name for a NIfTI image", "End it in .nii.gz or .nii.", about=path)
    if path.resolve() == scan.path.resolve():
        raise InputError("would overwrite the scan", "Choose another output.", about=path)
    value_range = float(voxels.min()), float(voxels.max())
    header = header_on_same_grid(scan.header, voxels.dtype, value_range)
    with atomic_path(path) as partial, partial.open("wb") as file:
        if path.suffix == ".gz":
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as stream:
                _write_image(stream, header, voxels)
        else:
            _write_image(file, header, voxels)


def _write_image(stream: Any, header: Any, voxels: NDArray[Any]) -> None:
    header.write_to(stream)  # header, and the 4 bytes that say: no extensions
    for z in range(voxels.shape[2]):
        stream.write(voxels[..., z].astype(header.get_data_dtype()).tobytes(order="F"))
