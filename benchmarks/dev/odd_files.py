"""Write odd files that might be taken for scans: damaged headers, values, names and links.

Number `n` is the same file on every machine. It lies alone in a folder of this number.
"""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

_AFFINE = np.array([[-8.0, 0, 0, 44], [0, 0, 12.0, -10], [0, 9.0, 0, -60], [0, 0, 0, 1]])
_HEADER_BYTES = 348
_ODD_NUMBERS = (0, -0.0, 1, -1, 2, 0.5, 1e-3, 1e3, 1e30, -1e30, 1e-30, np.nan, np.inf, -np.inf)
_ODD_COUNTS = (0, 1, -1, 2, 3, 4, 7, 8, 12, 255, 256, 1000, 32767, -32768)
_TYPES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 9999)
_DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")


def write_odd_file(folder: Path, number: int, seed: int = 0) -> Path:
    """Write one file into a folder of its own.

    Returns:
        The folder, named after the number and what is odd.
    """
    random = np.random.default_rng([seed, number])
    write = _WRITERS[number % len(_WRITERS)]
    own = folder / f"{number:06}-{write.__name__.strip('_')}"
    own.mkdir(parents=True)
    write(own, random)
    return own


def _head(dtype: Any = np.int16) -> NDArray[Any]:
    """A head of 12 × 3 × 14 voxels with a lesion."""
    x, y = np.ogrid[:12, :14]
    head = np.zeros((12, 3, 14))
    inside = ((x - 6) / 5) ** 2 + ((y - 7) / 6) ** 2 <= 1
    head += ((70 + x + 2 * y) * inside)[:, None, :]
    head[5:7, 1, 5:7] = 120
    return head.astype(dtype)


def _bytes(voxels: NDArray[Any] | None = None, kind: Any = nib.Nifti1Image) -> bytearray:
    image = kind(_head() if voxels is None else voxels, _AFFINE)
    image.set_qform(_AFFINE, 1)
    return bytearray(image.to_bytes())


def _save(
    folder: Path, content: bytes | bytearray, random: Generator, name: str = "a_FLAIR"
) -> None:
    is_gzipped = random.random() < 0.3
    path = folder / f"{name}.nii{'.gz' if is_gzipped else ''}"
    path.write_bytes(gzip.compress(content, 1) if is_gzipped else content)


def _header_bytes(folder: Path, random: Generator) -> None:
    kind = nib.Nifti2Image if random.random() < 0.2 else nib.Nifti1Image
    content = _bytes(kind=kind)
    for position in random.integers(kind.header_class.sizeof_hdr + 4, size=random.integers(1, 5)):
        content[position] = random.integers(256)
    _save(folder, content, random)


def _header_fields(folder: Path, random: Generator) -> None:
    content = _bytes()
    header = nib.Nifti1Header(bytes(content[:_HEADER_BYTES]), check=False)
    for _ in range(random.integers(1, 4)):
        _change_field(header, random)
    content[:_HEADER_BYTES] = header.binaryblock
    _save(folder, content, random)


def _change_field(header: Any, random: Generator) -> None:
    number, count = random.choice(_ODD_NUMBERS), random.choice(_ODD_COUNTS)
    match random.integers(10):
        case 0:
            header["dim"][random.integers(8)] = count
        case 1:
            header["pixdim"][random.integers(8)] = number
        case 2:
            header["datatype"] = random.choice(_TYPES)
        case 3:
            header["scl_slope"], header["scl_inter"] = number, random.choice(_ODD_NUMBERS)
        case 4:
            header[random.choice(["srow_x", "srow_y", "srow_z"])][random.integers(4)] = number
        case 5:
            header["srow_x"] = header["srow_y"] = header["srow_z"] = number
        case 6:
            header[random.choice(["quatern_b", "quatern_d", "qoffset_x"])] = number
        case 7:
            header[random.choice(["qform_code", "sform_code", "intent_code"])] = count
        case 8:
            header["vox_offset"] = number
        case 9:
            header["xyzt_units"] = random.integers(256)


def _damaged(folder: Path, random: Generator) -> None:
    """Cut off, lengthen, or change bytes anywhere, also in compressed data."""
    content = bytearray(gzip.compress(_bytes(), 1, mtime=0)) if random.random() < 0.6 else _bytes()
    position = int(random.integers(len(content)))
    match random.integers(4):
        case 0:
            content = content[:position]
        case 1:
            content[position] ^= int(random.integers(1, 256))
        case 2:
            content += random.bytes(int(random.integers(1, 50)))
        case 3:
            del content[position : position + int(random.integers(1, 9))]
    (folder / "a_FLAIR.nii.gz").write_bytes(content)


def _values(folder: Path, random: Generator) -> None:
    voxels = _head(random.choice(["f4", "f8"]))
    with np.errstate(all="ignore"):
        voxels = voxels * random.choice([1, 1e-3, 1e-20, 1e-38, 1e20, 1e30, 1e36, 1e300, 0, -1])
        voxels = voxels + random.choice([0, 0, 1, -1e4, 1e6, 1e7, 1e30])
    for _ in range(random.integers(3)):
        where = tuple(random.integers(voxels.shape))
        voxels[where] = random.choice(_ODD_NUMBERS)
    _save(folder, _bytes(voxels), random)


def _types_and_shapes(folder: Path, random: Generator) -> None:
    dtype = np.dtype(random.choice(_DTYPES))
    voxels = _head(dtype)
    shape = tuple(int(size) for size in random.integers(1, 6, size=random.integers(1, 6)))
    choices = [voxels[..., None], voxels[:, :, None], voxels[:, :1], random.random(shape)]
    voxels = np.asarray(choices[random.integers(len(choices))])
    image = nib.Nifti1Image(voxels.astype(dtype), _AFFINE, dtype=dtype)
    _save(folder, image.to_bytes(), random)


def _names(folder: Path, random: Generator) -> None:
    length = int(random.choice([1, 8, 100, 230, 240, 248]))
    alphabet = random.choice(
        ["a", "é", "脑", "😀", " ", "\n", "%s", "[b]", "..", "-", "'\"", "\udcff"]
    )
    name = os.fsencode((alphabet * length)[:length])[:length] + b"_FLAIR.nii"
    with open(os.fsencode(folder) + b"/" + name[-255:], "wb") as file:  # noqa: PTH123
        file.write(_bytes())


def _no_files(folder: Path, random: Generator) -> None:
    """Links, folders, pipes and files of other kinds, named like scans."""
    path = folder / "a_FLAIR.nii.gz"
    match random.integers(8):
        case 0:
            path.symlink_to(path.name)
        case 1:
            path.symlink_to("nowhere.nii")
        case 2:
            path.symlink_to("/dev/null")
        case 3:
            path.mkdir()
        case 4:
            os.mkfifo(path)
        case 5:
            path.write_bytes(random.bytes(int(random.integers(2000))))
        case 6:
            path.write_bytes(b"\x1f\x8b" + random.bytes(int(random.integers(2000))))
        case 7:
            path.write_bytes(gzip.compress(gzip.compress(_bytes(), 1), 1))


def _other_formats(folder: Path, random: Generator) -> None:
    """A pair or an image of FreeSurfer, perhaps damaged, named like a scan."""
    match random.integers(3):
        case 0:
            stored = folder / "a_FLAIR.mgh"
            nib.save(nib.MGHImage(_head(), _AFFINE.astype(np.float32)), stored)
            _damage_some(stored, random)
            stored.rename(folder / "a_FLAIR.nii")
        case 1:
            nib.save(nib.Nifti1Pair(_head(), _AFFINE), folder / "a_FLAIR.hdr")
            _damage_some(folder / random.choice(["a_FLAIR.hdr", "a_FLAIR.img"]), random)
            (folder / "a_FLAIR.nii").symlink_to("a_FLAIR.hdr")
        case 2:
            content = struct.pack("<i", _HEADER_BYTES) + bytes(int(random.integers(500)))
            (folder / "a_FLAIR.nii").write_bytes(content)


def _damage_some(path: Path, random: Generator) -> None:
    content = bytearray(path.read_bytes())
    for position in random.integers(min(len(content), _HEADER_BYTES), size=random.integers(3)):
        content[position] = random.integers(256)
    path.write_bytes(content)


_WRITERS: tuple[Callable[[Path, Generator], None], ...] = (
    _header_bytes,
    _header_fields,
    _damaged,
    _values,
    _header_bytes,
    _header_fields,
    _types_and_shapes,
    _names,
    _no_files,
    _other_formats,
)
