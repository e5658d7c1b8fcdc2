"""Read NIfTI scans, with errors that say what is wrong with the file."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_header import (
    HEADER_BYTES,
    PROGRAM_MARK,
    Affine,
    Layout,
    Placement,
    Shape,
    header_from_bytes,
    layout_from_header,
    placement_from_header,
    repaired_copy,
    shape_from_header,
)
from wmh_runtime.imageio.volume import Scan, check_values

_GZIP_MAGIC = b"\x1f\x8b"
_MAX_GZIP_RATIO = 1032  # the largest compression ratio of deflate
_CHUNK_BYTES = 2**20
_COPY_AGAIN = "Copy or convert the file again."

# Exceptions while a file is read: disk error, truncated file, invalid compressed data (a wrong
# checksum is an OSError), not enough memory.
_READ_ERRORS = (OSError, EOFError, zlib.error, MemoryError)


def read_scan(path: Path, *, allow_constant: bool = False) -> Scan:
    """Read a NIfTI-1 or NIfTI-2 image with one volume of real numbers, gzipped or not.

    The file type is detected from the content, not from the name. Besides the result, memory is
    allocated for one volume as stored, after the header has been checked.

    Args:
        path: file to read.
        allow_constant: accept an image with a single value or a few whole values, such as a
            reference mask with or without lesions. By default such an image is an error.

    Raises:
        InputError: the file is not a usable scan.
    """
    with _open_file(path) as file:
        scan = _scan_from_file(file, path)
    check_values(scan.voxels, allow_constant, path)
    return scan


def read_grid(path: Path) -> tuple[Shape, Affine]:
    """Read the number of voxels along each axis and the affine, without the voxels.

    Raises:
        InputError: see `read_scan`; only errors in the header are found.
    """
    with _open_file(path) as file:
        checked = _read_header(file, path)
    return checked.layout.shape, checked.placement.affine


def is_written_by_us(path: Path) -> bool:
    """Return whether `write_on_grid_of` wrote a file. Its header then has a mark."""
    try:
        with path.open("rb") as file:
            header = header_from_bytes(_decompressed(file)[0].read(HEADER_BYTES), path)
    except (*_READ_ERRORS, InputError):
        return False
    return bytes(header["descrip"]).rstrip(b"\0") == PROGRAM_MARK


@contextmanager
def _open_file(path: Path) -> Iterator[BufferedReader]:
    """Open a file; errors while it is opened or read become an InputError."""
    try:
        if path.exists() and not path.is_file():
            raise InputError("is not a regular file", "Give a .nii or .nii.gz file.", about=path)
        with path.open("rb") as file:
            yield file
    except _READ_ERRORS as error:
        problem, remedy = _explain_read_error(error)
        raise InputError(problem, remedy, about=path) from error


@dataclass(frozen=True)
class _CheckedHeader:
    """The checked header of an open file."""

    stream: Any  # the uncompressed content
    header: Any
    layout: Layout
    placement: Placement


def _read_header(file: BufferedReader, path: Path) -> _CheckedHeader:
    file_bytes = os.fstat(file.fileno()).st_size
    if file_bytes == 0:
        raise InputError("is empty (0 bytes)", _COPY_AGAIN, about=path)
    stream, is_gzipped = _decompressed(file)
    header = header_from_bytes(stream.read(HEADER_BYTES), path)
    shape = shape_from_header(header, path)
    repaired = repaired_copy(header, path)
    layout = layout_from_header(repaired, shape, path)
    placement = placement_from_header(repaired, shape, path)
    max_bytes = file_bytes * (_MAX_GZIP_RATIO if is_gzipped else 1)
    if layout.end_bytes > max_bytes:
        raise _truncated(max_bytes, layout, path)
    return _CheckedHeader(stream, header, layout, placement)


def _scan_from_file(file: BufferedReader, path: Path) -> Scan:
    checked = _read_header(file, path)
    voxels = _read_voxels(checked.stream, checked.layout, path)
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    placement = checked.placement
    return Scan(path, voxels, placement.affine, checked.header, sha256, placement.warnings)


def _decompressed(file: BufferedReader) -> tuple[Any, bool]:
    """Return a stream of the uncompressed content, and whether the file is gzipped."""
    is_gzipped = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    file.seek(0)
    return (gzip.GzipFile(fileobj=file, mode="rb") if is_gzipped else file), is_gzipped


def _read_voxels(stream: Any, layout: Layout, path: Path) -> NDArray[np.float32]:
    stored = np.empty(layout.voxel_bytes, np.uint8)
    stream.seek(layout.offset_bytes)
    n_read = _read_into(stored, stream)
    if n_read < layout.voxel_bytes:
        raise _truncated(layout.offset_bytes + n_read, layout, path)
    while stream.read(_CHUNK_BYTES):  # gzip checks its checksum at the end of the file
        pass
    return _apply_scaling(stored.view(layout.dtype).reshape(layout.shape, order="F"), layout)


def _read_into(buffer: NDArray[np.uint8], stream: Any) -> int:
    """Read into a buffer in chunks, without a second copy; return the number of bytes read."""
    total = 0
    while n_read := stream.readinto(buffer[total : total + _CHUNK_BYTES]):
        total += n_read
    return total


def _apply_scaling(stored: NDArray[Any], layout: Layout) -> NDArray[np.float32]:
    """Compute `slope · stored + intercept` in float64, slice by slice to save memory."""
    with np.errstate(over="ignore", invalid="ignore"):  # `check_values` follows
        if (layout.slope, layout.intercept) == (1.0, 0.0):
            return stored.astype(np.float32, copy=False)
        voxels = np.empty(layout.shape, np.float32, order="F")
        for z in range(layout.shape[2]):
            voxels[..., z] = stored[..., z].astype(np.float64) * layout.slope + layout.intercept
        return voxels


def _truncated(actual_bytes: int, layout: Layout, path: Path) -> InputError:
    problem = (
        f"is truncated: at most {actual_bytes} bytes of uncompressed data, "
        f"expected {layout.end_bytes} according to its header"
    )
    return InputError(problem, _COPY_AGAIN, about=path)


def _explain_read_error(error: BaseException) -> tuple[str, str]:
    """Return the problem and the remedy for an exception in `_READ_ERRORS`."""
    match error:
        case FileNotFoundError(filename=str(name)) if Path(name).is_symlink():
            return "is a link to a file that does not exist", "Fix or remove the link."
        case FileNotFoundError():
            return "does not exist", "Check the path."
        case EOFError():
            return "is truncated: the compressed data end too early", _COPY_AGAIN
        case gzip.BadGzipFile() | zlib.error():
            return f"is damaged ({error})", _COPY_AGAIN
        case MemoryError():
            return "does not fit into memory", "Use a machine with more memory."
        case OSError():
            return f"cannot be read ({error.strerror or error})", "Check its permissions."
        case _:
            raise AssertionError(f"not a read error: {error!r}")
