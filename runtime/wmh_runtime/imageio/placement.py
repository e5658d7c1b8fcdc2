"""The position of the voxels in the patient, from the forms in a NIfTI header.

Terms of the NIfTI standard:

    qform   voxel index to RAS+ mm, stored as voxel sizes, rotation and shift
    sform   voxel index to RAS+ mm, stored as an affine matrix
    coded   qform_code or sform_code is above 0; a form that is not coded must not be used
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import HeaderDataError

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_header import (
    CONVERT_AGAIN,
    Affine,
    Shape,
    SpacingMm,
    header_errors,
    largest_corner_distance_mm,
    spacing_mm_from_affine,
    times,
)

MIN_SPACING_MM, MAX_SPACING_MM = 0.1, 20.0
FORM_TOLERANCE_MM = 0.1  # qform and sform agree if no voxel moves by more than this
SPACING_TOLERANCE = 0.01  # relative; volumes then differ by 3 % at most
_MIN_DETERMINANT = 1e-3  # of the unit axes: 1 if perpendicular, 0 if in one plane
_UNITS_NOT_MM = {1: "meters", 3: "micrometers"}  # xyzt_units modulo 8; 2 is mm, 0 is unknown


@dataclass(frozen=True)
class Placement:
    """Position of the voxels in the patient."""

    affine: Affine  # (4, 4), voxel index to RAS+ mm
    warnings: tuple[str, ...]


def placement_from_header(header: Nifti1Header, shape: Shape, path: Path) -> Placement:
    """Read the affine: the sform if coded and valid, else the qform if coded and valid.

    If neither is coded, the affine has only the voxel sizes.

    Args:
        header: with valid codes, see `repaired_copy`.
        shape: voxels along each axis.
        path: the file, for messages.

    Raises:
        InputError: no form is finite and invertible, with voxel sizes of an MRI scan in mm.
    """
    with header_errors(path):  # also ignores overflows, which follow from invalid values
        forms = _coded_forms(header) or {"header": np.asarray(header.get_base_affine(), np.float64)}
        problems = {name: _problem(name, affine) for name, affine in forms.items()}
        valid = {name: affine for name, affine in forms.items() if not problems[name]}
        unit = _UNITS_NOT_MM.get(int(header["xyzt_units"]) % 8)
        if not valid:
            raise _no_valid_form(problems, unit, path)
        used, affine = next(iter(valid.items()))
        warnings = (
            *(f"the {name} {text}: the {used} is used" for name, text in problems.items() if text),
            *_form_warnings(valid, shape),
            *_spacing_warnings(header, spacing_mm_from_affine(affine), unit),
        )
    return Placement(affine, warnings)


def _no_valid_form(problems: Mapping[str, str], unit: str | None, path: Path) -> InputError:
    (name, problem), *_ = problems.items()
    what = f"has lengths in {unit}, expected millimeters" if unit else f"its {name} {problem}"
    return InputError(what, CONVERT_AGAIN, about=path)


def _coded_forms(header: Nifti1Header) -> dict[str, Affine]:
    """Return the affine of each coded form, the sform first."""
    forms = {}
    if int(header["sform_code"]) > 0:
        forms["sform"] = np.asarray(header.get_sform(), np.float64)
    if int(header["qform_code"]) > 0:
        forms["qform"] = _qform_or_nan(header)
    return forms


def _qform_or_nan(header: Nifti1Header) -> Affine:
    """Return the affine of the qform; all NaN if the stored quaternion is not a rotation."""
    try:
        return np.asarray(header.get_qform(), np.float64)
    except (HeaderDataError, ValueError):
        return np.full((4, 4), np.nan)


def _problem(name: str, affine: Affine) -> str:
    """Say what is wrong with the affine of a form; empty if nothing is."""
    if not np.isfinite(affine).all():
        return "has NaN or infinite values" + (", or no rotation" if name == "qform" else "")
    spacing_mm = spacing_mm_from_affine(affine)
    if not all(MIN_SPACING_MM <= size <= MAX_SPACING_MM for size in spacing_mm):
        expected = f"{MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm"
        return f"has a voxel size of {times(spacing_mm)} mm, expected {expected} along each axis"
    if abs(np.linalg.det(affine[:3, :3] / spacing_mm)) < _MIN_DETERMINANT:
        return "cannot be inverted: the voxel axes lie in one plane"
    return ""


def _form_warnings(valid: Mapping[str, Affine], shape: Shape) -> Iterator[str]:
    if any(np.array_equal(affine, np.eye(4)) for affine in valid.values()):
        yield (
            "the affine is the identity: the header was probably lost, and the voxel size, the"
            " volume, and left and right may be wrong"
        )
    if "header" in valid:
        yield "no orientation is coded in the header: left and right may be exchanged"
    if len(valid) == 2:
        distance_mm = largest_corner_distance_mm(valid["sform"], valid["qform"], shape)
        if distance_mm > FORM_TOLERANCE_MM:
            yield f"qform and sform disagree by up to {distance_mm:.1f} mm: the sform is used"


def _spacing_warnings(
    header: Nifti1Header, spacing_mm: SpacingMm, unit: str | None
) -> Iterator[str]:
    if unit:
        yield f"the header has lengths in {unit}, but voxels of {times(spacing_mm)}: mm are assumed"
    pixdim_mm = tuple(abs(float(size)) for size in header["pixdim"][1:4])
    if not np.allclose(spacing_mm, pixdim_mm, rtol=SPACING_TOLERANCE, atol=0):
        yield (
            f"the header's voxel size is {times(pixdim_mm)} mm, that of its affine "
            f"{times(spacing_mm)} mm: the affine is used"
        )
