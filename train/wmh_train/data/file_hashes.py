"""Hashes of the files of a scan: the same image or mask has the same hash under any name."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.imageio.image_files import image_files
from wmh_train.data.annotated import AnnotatedScan


def image_hash(scan: AnnotatedScan) -> str:
    """Return a hash of the images of a scan, without its masks.

    Raises:
        InputError: a file cannot be read.
    """
    return hashlib.sha256("\n".join(file_hashes(scan.channels)).encode()).hexdigest()


def file_hashes(images: Iterable[Path]) -> Iterator[str]:
    """Yield the SHA-256 of each file of some images, in this order.

    Raises:
        InputError: a file cannot be read.
    """
    for path in itertools.chain.from_iterable(map(image_files, images)):
        try:
            stat = path.stat()
            yield _sha256_once(path, stat.st_size, stat.st_mtime_ns)
        except OSError as error:
            problem = f"cannot be read ({reason_of(error)})"
            raise InputError(problem, "Check the file.", about=path) from error


@cache
def _sha256_once(path: Path, _size: int, _modified_ns: int) -> str:
    """Hash a file once per process, and again after a change; a training needs it several times."""
    return sha256_file(path)
