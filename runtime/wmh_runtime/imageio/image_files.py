"""The files of an image: one file, or a pair of .hdr with the header and .img with the voxels."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_PAIR = re.compile(r"\.(hdr|img)(\.gz)?$", re.IGNORECASE)
_OTHER_HALF = {"hdr": "img", "img": "hdr", "HDR": "IMG", "IMG": "HDR"}


def image_files(path: Path) -> tuple[Path, ...]:
    """Return the header's file and the voxels' file if a path names a pair; else the path alone.

    Args:
        path: either file of a pair, or a single file.
    """
    match = _PAIR.search(path.name)
    if match is None:
        return (path,)
    stem, kind = path.name[: match.start()], match[1]
    candidates = (path.with_name(f"{stem}.{_other_half(kind)}{gz}") for gz in ("", ".gz"))
    other = next((candidate for candidate in candidates if candidate.is_file()), None)
    if other is None:
        return (path,)
    return (path, other) if kind.lower() == "hdr" else (other, path)


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


def _other_half(kind: str) -> str:
    return _OTHER_HALF.get(kind, _OTHER_HALF[kind.lower()])
