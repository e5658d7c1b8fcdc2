"""The files of an image: one file, or a pair of .hdr with the header and .img with the voxels."""

from __future__ import annotations

import hashlib
from pathlib import Path

from wmh_runtime.dataset.image_formats import is_header, names_of_other_half


def image_files(path: Path) -> tuple[Path, ...]:
    """Return the header's file and the voxels' file if a path names a pair; else the path alone.

    Args:
        path: either file of a pair, or a single file.
    """
    candidates = map(path.with_name, names_of_other_half(path.name))
    other = next((candidate for candidate in candidates if candidate.is_file()), None)
    if other is None:
        return (path,)
    return (path, other) if is_header(path.name) else (other, path)


def sha256_of_image(path: Path) -> str:
    """Return the SHA-256 of the files of an image, one after the other, as 64 hexadecimal digits.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for file in image_files(path):
        with file.open("rb") as stream:
            while chunk := stream.read(2**20):
                digest.update(chunk)
    return digest.hexdigest()
