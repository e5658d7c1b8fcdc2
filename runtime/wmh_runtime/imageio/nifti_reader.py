"""One NIfTI scan in, results on exactly its grid out."""

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
    OUR_MARK,
    Affine,
    Layout,
    Placement,
    Shape,
    header_from_bytes,
    layout_from_header,
    placement_from_header,
    shape_from_header,
    trusted_copy,
)
from wmh_runtime.imageio.volume import Scan

_GZIP_MAGIC = b"\x1f\x8b"
_MAX_GZIP_RATIO = 1032  # deflate cannot expand a byte to more
_CHUNK_BYTES = 2**20
_COPY_AGAIN = "Copy or convert it again."

# What reading a user's file can raise besides our own errors: the disk, the file's end, the
# decompression (a wrong checksum is an OSError), and too large a volume.
_READ_FAILURES = (OSError, EOFError, zlib.error, MemoryError)


def read_scan(path: Path, *, allow_constant: bool = False) -> Scan:
    """Read a NIfTI-1 or NIfTI-2 image, gzipped or not, of one volume of real numbers.

    The content decides what the file is, not its name. Besides the result, memory is taken for
    one volume as stored, and only after the header's claims have been checked.

    Args:
        path: of the image.
        allow_constant: take an image of one value throughout, such as a reference mask without
            a lesion. A scan like that is refused.

    Raises:
        InputError: whatever keeps the file from being a usable scan.
    """
    with _opened(path) as file:
        scan = _scan_from_file(file, path)
    _check_values(scan.voxels, allow_constant, path)
    return scan


def read_grid(path: Path) -> tuple[Shape, Affine]:
    """Read how many voxels a scan has along each axis, and where they lie, without reading them.

    Raises:
        InputError: as of `read_scan`, as far as the header shows it.
    """
    with _opened(path) as file:
        announced = _announced(file, path)
    return announced.layout.shape, announced.placement.affine


def is_ours(path: Path) -> bool:
    """Say whether a file is one that `write_on_grid_of` wrote, by the mark in its header."""
    try:
        with path.open("rb") as file:
            header = header_from_bytes(_unpacked(file)[0].read(HEADER_BYTES), path)
    except (*_READ_FAILURES, InputError):
        return False
    return bytes(header["descrip"]).rstrip(b"\0") == OUR_MARK


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """Open a user's file; what goes wrong while it is read becomes an InputError."""
    try:
        if path.exists() and not path.is_file():
            raise InputError("is not a file", "Give a .nii or .nii.gz file.", about=path)
        with path.open("rb") as file:
            yield file
    except _READ_FAILURES as error:
        problem, remedy = _explanation(error)
        raise InputError(problem, remedy, about=path) from error


@dataclass(frozen=True)
class _Announced:
    """What a file's header says, checked."""

    stream: Any  # of the file's content, unpacked
    header: Any
    layout: Layout
    placement: Placement


def _announced(file: BufferedReader, path: Path) -> _Announced:
    file_bytes = os.fstat(file.fileno()).st_size
    if file_bytes == 0:
        raise InputError("is empty (0 bytes)", _COPY_AGAIN, about=path)
    stream, is_gzipped = _unpacked(file)
    header = header_from_bytes(stream.read(HEADER_BYTES), path)
    shape = shape_from_header(header, path)
    trusted = trusted_copy(header, path)
    layout = layout_from_header(trusted, shape, path)
    placement = placement_from_header(trusted, shape, path)
    at_most_bytes = file_bytes * (_MAX_GZIP_RATIO if is_gzipped else 1)
    if layout.end_bytes > at_most_bytes:
        raise _cut_off(at_most_bytes, layout, path)
    return _Announced(stream, header, layout, placement)


def _scan_from_file(file: BufferedReader, path: Path) -> Scan:
    announced = _announced(file, path)
    voxels = _read_voxels(announced.stream, announced.layout, path)
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    placement = announced.placement
    return Scan(path, voxels, placement.affine, announced.header, sha256, placement.warnings)


def _unpacked(file: BufferedReader) -> tuple[Any, bool]:
    """Return a stream of the file's content, and whether it is gzipped."""
    is_gzipped = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    file.seek(0)
    return (gzip.GzipFile(fileobj=file, mode="rb") if is_gzipped else file), is_gzipped


def _read_voxels(stream: Any, layout: Layout, path: Path) -> NDArray[np.float32]:
    stored = np.empty(layout.voxel_bytes, np.uint8)
    stream.seek(layout.offset_bytes)
    filled = _fill(stored, stream)
    if filled < layout.voxel_bytes:
        raise _cut_off(layout.offset_bytes + filled, layout, path)
    while stream.read(_CHUNK_BYTES):  # gzip compares its checksum at the very end
        pass
    return _scaled(stored.view(layout.dtype).reshape(layout.shape, order="F"), layout)


def _fill(buffer: NDArray[np.uint8], stream: Any) -> int:
    """Fill the buffer chunk by chunk, so that no second copy is made; return how far it went."""
    filled = 0
    while n_read := stream.readinto(buffer[filled : filled + _CHUNK_BYTES]):
        filled += n_read
    return filled


def _scaled(stored: NDArray[Any], layout: Layout) -> NDArray[np.float32]:
    """Apply `slope · stored + intercept` in float64, slice by slice to save memory."""
    with np.errstate(over="ignore", invalid="ignore"):  # infinities are counted afterwards
        if (layout.slope, layout.intercept) == (1.0, 0.0):
            return stored.astype(np.float32, copy=False)
        voxels = np.empty(layout.shape, np.float32, order="F")
        for z in range(layout.shape[2]):
            voxels[..., z] = stored[..., z].astype(np.float64) * layout.slope + layout.intercept
        return voxels


def _check_values(voxels: NDArray[np.float32], allow_constant: bool, path: Path) -> None:
    lowest, highest = voxels.min(), voxels.max()  # NaN if any voxel is NaN
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        n_bad = voxels.size - int(np.isfinite(voxels).sum())
        problem = f"has {n_bad} of {voxels.size} voxels that are NaN, infinite or beyond float32"
        raise InputError(problem, "Repair them, or convert the scan again.", about=path)
    if lowest == highest and not allow_constant:
        problem = f"shows nothing: every voxel has the value {lowest:g}"
        raise InputError(problem, "Give the scan itself.", about=path)


def _cut_off(actual_bytes: int, layout: Layout, path: Path) -> InputError:
    problem = (
        f"is cut off: it holds at most {actual_bytes} bytes (unpacked), "
        f"but its header announces {layout.end_bytes}"
    )
    return InputError(problem, _COPY_AGAIN, about=path)


def _explanation(error: BaseException) -> tuple[str, str]:
    """Say what a failure of reading means, and what to do."""
    match error:
        case FileNotFoundError(filename=str(name)) if Path(name).is_symlink():
            return "links to a file that does not exist", "Mend the link, or remove it."
        case FileNotFoundError():
            return "does not exist", "Check the path."
        case EOFError():
            return "is cut off: its compressed data end early", _COPY_AGAIN
        case gzip.BadGzipFile() | zlib.error():
            return f"is damaged ({error})", _COPY_AGAIN
        case MemoryError():
            return "does not fit into memory", "Use a machine with more memory."
        case OSError():
            return f"cannot be read ({error.strerror or error})", "Check its permissions."
        case _:
            raise AssertionError(f"not a failure of reading: {error!r}")
