"""File formats of images, by file name: which are read, and what to do with the others."""

from __future__ import annotations

import re
from pathlib import Path

# A pair of files is named by its header, .hdr; the voxels are in the .img file beside it.
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".hdr.gz", ".hdr", ".mgz", ".mgh")
DICOM_ADVICE = "give their folder alone"

_DICOM_SUFFIXES = (".dcm", ".ima")
_DICOM_MAGIC_OFFSET = 128  # DICOM PS3.10: a preamble of 128 bytes, then "DICM"
_CONVERTERS = {
    (".nrrd", ".nhdr", ".mha", ".mhd"): "3D Slicer or SimpleITK",
    (".mnc",): "mnc2nii of MINC",
    (".mif", ".mif.gz", ".mih"): "mrconvert of MRtrix3",
    (".par", ".rec", ".xml.rec"): "dcm2niix",
    (".head", ".brik", ".brik.gz"): "3dAFNItoNIFTI of AFNI",
}
_ZIP_SUFFIX = ".zip"
_ARCHIVES = (_ZIP_SUFFIX, ".7z", ".rar", ".tar", ".tar.gz", ".tgz", ".nii.bz2", ".nii.xz")
_NOT_IMAGES = (
    *(".json", ".csv", ".tsv", ".txt", ".md", ".log", ".xml", ".html", ".pdf", ".yaml", ".yml"),
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".bval", ".bvec", ".mat", ".xls", ".xlsx", ".py"),
)
_PAIR = re.compile(r"\.(hdr|img)(?:\.gz)?$", re.IGNORECASE)
_OTHER_HALF = {"hdr": "img", "img": "hdr", "HDR": "IMG", "IMG": "HDR"}
_VOXELS_SUFFIXES = (".img", ".img.gz")
_MISNAMED_NIFTI = re.compile(r"\.nii\b")  # scan.nii (1).gz, scan.nii.gz.part


def is_image(path: Path) -> bool:
    """Return whether a file name is that of an image in a format that is read."""
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def image_stem(path: Path) -> str:
    """Return the name of an image file without the suffix of its format."""
    for suffix in IMAGE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def names_of_other_half(name: str) -> tuple[str, ...]:
    """Return the names that the other file of a pair may have; none if it is not of a pair."""
    match = _PAIR.search(name)
    if match is None:
        return ()
    other = _OTHER_HALF.get(match[1], _OTHER_HALF[match[1].lower()])
    return tuple(f"{name[: match.start()]}.{other}{gz}" for gz in ("", ".gz", ".GZ"))


def is_header(name: str) -> bool:
    """Return whether a file name of a pair is that of its header."""
    return not name.lower().endswith(_VOXELS_SUFFIXES)


def why_not_read(path: Path) -> str | None:
    """Return why an image in another format is not read; None if the name is not of an image."""
    name = path.name.lower()
    if name.endswith(_ARCHIVES):
        return "an archive; unpack it"
    for suffixes, converter in _CONVERTERS.items():
        for suffix in suffixes:
            if name.endswith(suffix):
                return f"{suffix} files are not read; convert to NIfTI with {converter}"
    if _MISNAMED_NIFTI.search(name) and not (is_image(path) or name.endswith(_NOT_IMAGES)):
        return "its name does not end in .nii or .nii.gz; rename it"
    return None


def may_be_dicom(path: Path) -> bool:
    """Return whether a file name may be that of a DICOM file, which often has no suffix."""
    is_other = is_image(path) or why_not_read(path) is not None
    return not is_other and not path.name.lower().endswith((*_NOT_IMAGES, *_VOXELS_SUFFIXES))


def is_zip(path: Path) -> bool:
    """Return whether a file name is that of a zip archive."""
    return path.name.lower().endswith(_ZIP_SUFFIX)


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM, by its name or its content."""
    if path.name.lower().endswith(_DICOM_SUFFIXES):
        return True
    try:
        if not path.is_file():  # to open a named pipe would block
            return False
        with path.open("rb") as stream:
            return stream.read(_DICOM_MAGIC_OFFSET + 4)[_DICOM_MAGIC_OFFSET:] == b"DICM"
    except OSError:
        return False
