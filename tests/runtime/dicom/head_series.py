"""A toy head as a DICOM series."""

from pathlib import Path

from tests.runtime.dicom.series_toys import from_nifti, write
from tests.toys import write_head


def head_images(folder: Path, *, who=None, **changes):
    """The images of a toy head; `folder` is for its NIfTI file."""
    return from_nifti(write_head(folder / "head.nii.gz", **changes), who=who)


def write_head_series(folder: Path, *, who=None, **changes) -> Path:
    """Write a toy head as a series; return the folder."""
    return write(head_images(folder.parent / f"{folder.name}-nifti", who=who, **changes), folder)
