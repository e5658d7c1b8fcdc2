"""Read scans, NIfTI or MGH, with errors that say what is wrong with the file."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.image_files import image_files, sha256_of_image
from wmh_runtime.imageio.mgh_header import is_mgh, nifti_header_from_mgh
from wmh_runtime.imageio.nifti_header import (
    LONG_HEADER_BYTES,
    PROGRAM_MARK,
    SHORT_HEADER_BYTES,
    Affine,
    Layout,
    Shape,
    header_from_bytes,
    is_long_header,
    layout_from_header,
    repaired_copy,
    shape_from_header,
)
from wmh_runtime.imageio.placement import Placement, placement_from_header
from wmh_runtime.imageio.read_errors import COPY_AGAIN, READ_ERRORS, read_errors
from wmh_runtime.imageio.volume import Scan, check_values

_GZIP_MAGIC = b"\x1f\x8b"
_MAX_GZIP_RATIO = 1032  # the largest compression ratio of deflate
_NO_FURTHER_GZIP = "Not a gzipped file"  # Python's words for junk after a whole gzip stream
_CHUNK_BYTES = 2**20


def read_scan(path: Path, *, allow_constant: bool = False) -> Scan:
    """Read an image with one volume of real numbers: NIfTI-1, NIfTI-2 or MGH, gzipped or not.

    The file type is detected from the content, not from the name. Only a pair is found by name:
    `path` is its .hdr or its .img. Besides the result, memory is allocated for one volume as
    stored, after the header has been checked.

    Args:
        path: file to read.
        allow_constant: accept an image with a single value or a few whole values, such as a
            reference mask with or without lesions. By default such an image is an error.

    Raises:
        InputError: the file is not a usable scan.
    """
    image = _read_header(path)
    with _open_file(image.voxels_path) as file:
        voxels, warnings = _read_voxels(file, image, path)
    with read_errors(path):
        sha256 = sha256_of_image(path)
    check_values(voxels, allow_constant, path)
    placement = image.placement
    return Scan(
        path, voxels, placement.affine, image.header, sha256, (*placement.warnings, *warnings)
    )


def read_grid(path: Path) -> tuple[Shape, Affine]:
    """Read the number of voxels along each axis and the affine, without the voxels.

    Raises:
        InputError: see `read_scan`; only errors in the header are found.
    """
    image = _read_header(path)
    return image.layout.shape, image.placement.affine


def is_written_by_us(path: Path) -> bool:
    """Return whether `write_on_grid_of` wrote a file. Its header then has a mark."""
    try:
        with _open_file(path) as file:
            header = header_from_bytes(_first_bytes(_decompressed(file)[0]), path)
    except (*READ_ERRORS, InputError):
        return False
    return bytes(header["descrip"]).rstrip(b"\0") == PROGRAM_MARK


@contextmanager
def _open_file(path: Path) -> Iterator[BufferedReader]:
    with read_errors(path):
        if path.exists() and not path.is_file():
            raise InputError("is not a regular file", "Give a .nii or .nii.gz file.", about=path)
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise InputError("is empty (0 bytes)", COPY_AGAIN, about=path)
            yield file


@dataclass(frozen=True)
class _Image:
    """What the checked header says."""

    header: Any  # as stored; of an MGH image, the same grid as NIfTI
    layout: Layout
    placement: Placement
    voxels_path: Path
    may_have_footer: bool  # after the voxels


def _read_header(path: Path) -> _Image:
    files = image_files(path)
    with _open_file(files[0]) as file:
        head = _first_bytes(_decompressed(file)[0])
    is_from_freesurfer = is_mgh(head)
    header = (nifti_header_from_mgh if is_from_freesurfer else header_from_bytes)(head, path)
    is_pair = not (is_from_freesurfer or header.is_single)
    if is_pair and len(files) == 1:
        problem = "is one half of a NIfTI pair, and the other is not beside it"
        raise InputError(problem, "Copy the .hdr and the .img file again.", about=path)
    shape = shape_from_header(header, path)
    repaired = repaired_copy(header, path)
    image = _Image(
        header,
        layout_from_header(repaired, shape, path),
        placement_from_header(repaired, shape, path),
        voxels_path=files[-1] if is_pair else files[0],
        may_have_footer=is_from_freesurfer,
    )
    _require_enough_bytes(image, path)
    return image


def _require_enough_bytes(image: _Image, path: Path) -> None:
    """Raise InputError if the voxels cannot be in the file, before memory is allocated."""
    with _open_file(image.voxels_path) as file:
        _, is_gzipped = _decompressed(file)
        max_bytes = os.fstat(file.fileno()).st_size * (_MAX_GZIP_RATIO if is_gzipped else 1)
    if image.layout.end_bytes > max_bytes:
        raise _truncated(max_bytes, image.layout, path)


def _first_bytes(stream: Any) -> bytes:
    """Read the header. No more is read, because behind a short file there may be an error."""
    head: bytes = stream.read(SHORT_HEADER_BYTES)
    if is_long_header(head):
        head += stream.read(LONG_HEADER_BYTES - SHORT_HEADER_BYTES)
    return head


def _decompressed(file: BufferedReader) -> tuple[Any, bool]:
    """Return a stream of the uncompressed content, and whether the file is gzipped."""
    is_gzipped = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    file.seek(0)
    return (gzip.GzipFile(fileobj=file, mode="rb") if is_gzipped else file), is_gzipped


def _read_voxels(
    file: BufferedReader, image: _Image, path: Path
) -> tuple[NDArray[np.float32], list[str]]:
    """Read the voxels; return warnings about what follows them in the file."""
    (stream, _), layout = _decompressed(file), image.layout
    stored = np.empty(layout.voxel_bytes, np.uint8)
    stream.seek(layout.offset_bytes)
    n_read = _read_into(stored, stream)
    if n_read < layout.voxel_bytes:
        raise _truncated(layout.offset_bytes + n_read, layout, path)
    warnings = _read_rest(stream, may_have_footer=image.may_have_footer)
    in_order = stored.view(layout.dtype).reshape(layout.shape, order="F")
    return _apply_scaling(in_order, layout), warnings


def _read_rest(stream: Any, *, may_have_footer: bool) -> list[str]:
    """Read to the end, where gzip checks its checksum; warn about bytes after the voxels."""
    n_further = 0
    try:
        while chunk := stream.read(_CHUNK_BYTES):
            n_further += len(chunk)
    except gzip.BadGzipFile as error:
        if not str(error).startswith(_NO_FURTHER_GZIP):
            raise
        return ["the file has other bytes after its gzipped content: they are ignored"]
    if n_further and not may_have_footer:
        return [f"the file has {n_further} bytes after the voxels: its header may be wrong"]
    return []


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
    return InputError(problem, COPY_AGAIN, about=path)
